"""Rotation, shear and translation, each as a look-up of source pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmodels.ops.augmentation.crops import Images, Number

PerExample = Float[Array, " batch"] | Number


def warp(
    images: Images,
    degrees: PerExample = 0.0,
    shear_x: PerExample = 0.0,
    shear_y: PerExample = 0.0,
    right: PerExample = 0.0,
    down: PerExample = 0.0,
    fill: Number = 0,
) -> Images:
    """Rotates, shears or moves each image, as torchvision's RandAugment does.

    Each image may have one of these only: several would be added, not composed. A pixel takes the
    value of the nearest source pixel.

    degrees: of a counter-clockwise rotation about the centre.
    shear_x: the pixels by which a row moves to the left for each pixel below the top.
    shear_y: the pixels by which a column moves up for each pixel right of the left edge.
    right, down: of a translation, in pixels.
    fill: the value of pixels whose source lies outside of the image.
    """
    batch, height, width, channels = images.shape
    angle = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x = jnp.arange(width) - (width - 1) / 2
    y = (jnp.arange(height) - (height - 1) / 2)[:, None]

    def each(values):
        return jnp.broadcast_to(values, (batch,))[:, None, None]

    # Sources are measured from the centre, as x and y are. A shear keeps the upper left corner,
    # which is half a side away from the centre.
    source_x = each(cosine) * x + each(shear_x - sine) * y
    source_x += each(jnp.asarray(shear_x) * (height / 2) - right)
    source_y = each(cosine) * y + each(shear_y + sine) * x
    source_y += each(jnp.asarray(shear_y) * (width / 2) - down)
    columns = jnp.round(source_x + (width - 1) / 2).astype(jnp.int32)
    rows = jnp.round(source_y + (height - 1) / 2).astype(jnp.int32)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixels = jnp.where(inside, rows * width + columns, 0).reshape(batch, height * width, 1)
    warped = jnp.take_along_axis(
        images.reshape(batch, height * width, channels), pixels, axis=1, mode="promise_in_bounds"
    )
    warped = warped.reshape(images.shape)
    return jnp.where(inside[..., None], warped, jnp.asarray(fill, images.dtype))
