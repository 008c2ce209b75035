"""Flax Linen modules: array in, array out.

An architecture is one file with its module and its Config. `classifiers`, `gans` and `vaes` list
the architectures of a task under their names for --model: a new classifier or VAE is one field
there, a new GAN one entry. The lists are separate, so that a script imports only the networks of
its task.
"""
