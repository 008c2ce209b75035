"""Images of a data set at another size."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmodels.data.images import ImageData

_CHUNK = 1000


def resize_images(data: ImageData, size: int) -> ImageData:
    """The data with all images of size x size, bilinear with antialias, rounded to the stored type;
    size 0: the data as it is."""
    if not size or (data.shape and data.shape[:2] == (size, size)):
        return data
    channels = data.splits["train"]["image"].shape[-1]

    def resized(images):
        parts = []
        for start in range(0, len(images), _CHUNK):
            part = jnp.asarray(images[start : start + _CHUNK], jnp.float32)
            part = jax.image.resize(part, (len(part), size, size, channels), "bilinear")
            parts.append(np.asarray(jnp.round(part)).astype(images.dtype))
        return np.concatenate(parts)

    splits = {
        split: {**columns, "image": resized(columns["image"])}
        for split, columns in data.splits.items()
    }
    return data._replace(splits=splits)
