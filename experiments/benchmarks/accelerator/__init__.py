"""What a machine with a GPU shows of this project, in one prepared script.

    python -m experiments.benchmarks.accelerator --output FOLDER --data-dir DIR
    python -m experiments.benchmarks.accelerator --parts smoke resnet50 --minutes 4
    python -m experiments.benchmarks.accelerator --table FOLDER

Each part is a module with a function run(setting, results); __main__.py lists them. A part writes
FOLDER/PART.json anew with every result, so that a kill loses none, and --table makes the tables of
these files. All that computes runs in processes of its own: this one never takes the device's
memory, and ends what takes too long. On a CPU everything runs in miniature, to try it out.
"""
