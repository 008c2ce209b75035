"""Leaves out what this machine cannot run."""

from tests.launch import slurm_cluster

# They are not skipped, because the gate ends where tests are: it installs Slurm where it can.
collect_ignore = [] if slurm_cluster.is_here() else ["test_slurm.py"]
