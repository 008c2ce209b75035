"""Rotation, shear and translation as one look-up of source pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

Images = Num[Array, "batch height width channels"]
PerExample = Float[Array, " batch"] | float


def warp(
    images: Images,
    degrees: PerExample = 0.0,
    shear_x: PerExample = 0.0,
    shear_y: PerExample = 0.0,
    right: PerExample = 0.0,
    down: PerExample = 0.0,
    fill: float = 0,
) -> Images:
    """Each image rotated counter-clockwise about its centre, sheared from its upper left corner or
    moved; at most one of these per image (of several they would be added, not composed).

    shear_x: pixels that a row moves to the left per pixel below the top; shear_y: that a column
      moves up per pixel right of the left edge. right, down: in pixels.
    The nearest source pixel is taken, `fill` outside: torchvision's `rotate` and `affine` as its
    RandAugment calls them.
    """
    batch, height, width, channels = images.shape
    angle = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x = jnp.arange(width) - (width - 1) / 2
    y = (jnp.arange(height) - (height - 1) / 2)[:, None]

    def each(values):
        return jnp.broadcast_to(values, (batch,))[:, None, None]

    # From the centre, as are x and y; the corner that a shear keeps is half a side away from it.
    source_x = each(cosine) * x + each(shear_x - sine) * y
    source_x += each(jnp.asarray(shear_x) * (height / 2) - right)
    source_y = each(cosine) * y + each(shear_y + sine) * x
    source_y += each(jnp.asarray(shear_y) * (width / 2) - down)
    columns = jnp.round(source_x + (width - 1) / 2).astype(jnp.int32)
    rows = jnp.round(source_y + (height - 1) / 2).astype(jnp.int32)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = jnp.where(inside, rows * width + columns, 0).reshape(batch, height * width, 1)
    found = jnp.take_along_axis(
        images.reshape(batch, height * width, channels), places, axis=1, mode="promise_in_bounds"
    )
    found = found.reshape(images.shape)
    return jnp.where(inside[..., None], found, jnp.asarray(fill, images.dtype))
