"""Published weights: files of named arrays, checked before anything of them is unpacked."""

from jaxmodels.pretrained.reading import SUFFIXES, check_weights, read_weights, require_stored

__all__ = ["SUFFIXES", "check_weights", "read_weights", "require_stored"]
