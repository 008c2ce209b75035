"""Data sets of images by name, and how their examples reach the compiled step."""

from jaxmodels.data.images import Columns, ImageData, load_images
from jaxmodels.data.normalization import Normalization, normalization_of
from jaxmodels.data.order import sample_order
from jaxmodels.data.resident import Resident

__all__ = [
    "Columns",
    "ImageData",
    "Normalization",
    "Resident",
    "load_images",
    "normalization_of",
    "sample_order",
]
