"""One script for each task: python -m experiments.NAME."""

import sys

# Python calls a program so while it still imports the packages around the module to run.
if sys.argv[0] == "-m":
    from jaxmodels.interrupts import leave_at_interrupt

    leave_at_interrupt()
