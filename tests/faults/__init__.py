"""A campaign of injected faults: kills, signals, full disks, damage, each with its right outcome.

python -m tests.faults             # all kinds; prints the table of jaxmodels/train/README.md
pytest -m faults                   # the same as tests
"""
