"""Images as data: by name, from folders or from arrays; checked, cut, resized and normalised."""

from jaxmodels.data.images.arrays import images_from_arrays
from jaxmodels.data.images.checking import Pixels
from jaxmodels.data.images.crops import central_crop, random_resized_crop
from jaxmodels.data.images.decoder import ImageDecoder
from jaxmodels.data.images.decoding import decode_image
from jaxmodels.data.images.elsewhere import require_levels, sources_elsewhere
from jaxmodels.data.images.image_data import ImageData, resize_images
from jaxmodels.data.images.loading import (
    CropConfig,
    DataConfig,
    ResizeConfig,
    is_streamed,
    load,
    load_images,
    make_source,
)
from jaxmodels.data.images.normalization import Normalization, normalization_of
from jaxmodels.data.images.reading import read_pictures
from jaxmodels.data.images.resize import resize_image

__all__ = [
    "CropConfig",
    "DataConfig",
    "ImageData",
    "ImageDecoder",
    "Normalization",
    "Pixels",
    "ResizeConfig",
    "central_crop",
    "decode_image",
    "images_from_arrays",
    "is_streamed",
    "load",
    "load_images",
    "make_source",
    "normalization_of",
    "random_resized_crop",
    "read_pictures",
    "require_levels",
    "resize_image",
    "resize_images",
    "sources_elsewhere",
]
