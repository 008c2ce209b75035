"""Flax Linen modules: array in, array out.

An architecture is one file, with its module and its Config. `classifiers`, `gans` and `vaes` name
those of a task: a new one is one field there, under the name that --model has for it. They are
modules of their own, so that a script imports the networks of its task and no others.
"""
