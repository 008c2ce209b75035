"""Data sets of images by name, and how their examples reach the compiled step."""

from jaxmodels.data.crops import central_crop, random_resized_crop
from jaxmodels.data.decoding import BadRecord, decode_image
from jaxmodels.data.images import Columns, ImageData, load_images
from jaxmodels.data.loading import LoadingConfig, make_source
from jaxmodels.data.normalization import Normalization, normalization_of
from jaxmodels.data.records import BadRow, CleanImages, EncodedImages
from jaxmodels.data.resident import Resident
from jaxmodels.data.resize import resize_images
from jaxmodels.data.streamed import Streamed
from jaxmodels.order import Order, sample_order

__all__ = [
    "BadRecord",
    "BadRow",
    "CleanImages",
    "Columns",
    "EncodedImages",
    "ImageData",
    "LoadingConfig",
    "Normalization",
    "Order",
    "Resident",
    "Streamed",
    "central_crop",
    "decode_image",
    "load_images",
    "make_source",
    "normalization_of",
    "random_resized_crop",
    "resize_images",
    "sample_order",
]
