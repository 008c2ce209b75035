"""Published weights: files of named arrays, checked before anything of them is unpacked.

`open_weights` opens a file or folder of any format, `load` fills a model's tree by the table of
names that its Config makes (`names.Published`), and `save` writes one.
"""

from jaxmodels.pretrained.bytes_of_files import require_stored
from jaxmodels.pretrained.configs import labels, required_sizes
from jaxmodels.pretrained.loading import Match, compare, load, read_arrays
from jaxmodels.pretrained.names import Entry, Layout, Published
from jaxmodels.pretrained.opening import SUFFIXES, open_weights
from jaxmodels.pretrained.saving import save, save_file
from jaxmodels.pretrained.weights import Stored, Weights

__all__ = [
    "SUFFIXES",
    "Entry",
    "Layout",
    "Match",
    "Published",
    "Stored",
    "Weights",
    "compare",
    "labels",
    "load",
    "open_weights",
    "read_arrays",
    "require_stored",
    "required_sizes",
    "save",
    "save_file",
]
