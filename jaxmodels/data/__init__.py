"""Data sets of images by name, and how their examples reach the compiled step."""

from jaxmodels.data.images import Columns, ImageData, load_images
from jaxmodels.data.normalization import Normalization, normalization_of
from jaxmodels.data.order import sample_order
from jaxmodels.data.resident import Resident
from jaxmodels.data.resize import resize_images

__all__ = [
    "Columns",
    "ImageData",
    "Normalization",
    "Resident",
    "load_images",
    "normalization_of",
    "resize_images",
    "sample_order",
]
