"""Checks and timings of this project on a machine with a GPU, as one script in parts.

    python -m experiments.benchmarks.accelerator --output FOLDER --data-dir DIR
    python -m experiments.benchmarks.accelerator --parts smoke resnet50 --minutes 4
    python -m experiments.benchmarks.accelerator --table FOLDER

Each part is a module with a function run(setting, results); __main__.py lists them. A part rewrites
FOLDER/PART.json after every result, so that a kill loses none; --table prints these files. Child
processes do all the computing: this process never takes the device's memory, and ends children that
take too long. On a CPU everything runs in miniature, for trials.
"""
