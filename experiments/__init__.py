"""One script for each task: python -m experiments.NAME."""

import sys

# Under python -m, this is the program's name while Python imports the packages around its module.
if sys.argv[0] == "-m":
    from jaxmodels.interrupts import leave_at_interrupt

    leave_at_interrupt()
