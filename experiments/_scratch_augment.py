"""Flips, scale and shift, until the augmentation of boxes is there."""

import jax
import jax.numpy as jnp

from jaxmodels import across
from jaxmodels.protocol import example_keys

FILL = 114.0


def _matrix(scale, shift, count):
    centres = (jnp.arange(count) + 0.5 - shift) / scale - 0.5
    width = jnp.maximum(1 / scale, 1.0)
    weights = jnp.maximum(0, 1 - jnp.abs(centres[:, None] - jnp.arange(count)) / width) / width
    return weights


def _one(image, boxes, labels, key, low, high, vertical, flip):
    height, width, _ = image.shape
    keys = jax.random.split(key, 5)
    s = jnp.exp(jax.random.uniform(keys[0], minval=jnp.log(low), maxval=jnp.log(high)))
    t = jax.random.uniform(keys[1], (2,))
    sides = jnp.array([width, height], jnp.float32)
    shift = t * (1 - s) * sides
    flips = jax.random.bernoulli(keys[2], 0.5, (2,)) & jnp.array([flip, vertical])
    columns, rows = (_matrix(s, shift[i], n) for i, n in enumerate((width, height)))
    columns = jnp.where(flips[0], columns[::-1], columns)
    rows = jnp.where(flips[1], rows[::-1], rows)
    gain = 1 + 0.2 * jax.random.uniform(keys[3], (), minval=-1)
    bright = 20 * jax.random.uniform(keys[4], (), minval=-1)
    pixels = image.astype(jnp.float32) - FILL
    pixels = jnp.einsum("ih,hwc->iwc", rows, pixels)
    pixels = jnp.einsum("jw,iwc->ijc", columns, pixels) * gain + bright + FILL
    pixels = jnp.clip(pixels, 0, 255)
    moved = boxes * s + jnp.concatenate([shift, shift])
    limit = jnp.concatenate([sides, sides])
    x0, y0, x1, y1 = jnp.moveaxis(moved, -1, 0)
    x0, x1 = jnp.where(flips[0], width - x1, x0), jnp.where(flips[0], width - x0, x1)
    y0, y1 = jnp.where(flips[1], height - y1, y0), jnp.where(flips[1], height - y0, y1)
    moved = jnp.stack([x0, y0, x1, y1], -1)
    cut = jnp.clip(moved, 0, limit)
    size, before = cut[:, 2:] - cut[:, :2], moved[:, 2:] - moved[:, :2]
    share = jnp.prod(size, -1) / jnp.maximum(jnp.prod(before, -1), 1e-6)
    keep = (labels >= 0) & (share > 0.25) & (jnp.min(size, -1) > 2)
    return pixels, jnp.where(keep[:, None], cut, 0), jnp.where(keep, labels, -1)


def augment(low=0.7, high=1.4, vertical=True, flip=True):
    def change(batch, key):
        images = batch["image"]
        keys = example_keys(key, batch.get("position", across.positions(len(images))))
        image, boxes, labels = jax.vmap(
            lambda i, b, l, k: _one(i, b, l, k, low, high, vertical, flip)
        )(images, batch["boxes"], batch["labels"], keys)
        return {**batch, "image": image, "boxes": boxes, "labels": labels}

    return change


def scratch(data):
    import os

    if "SCRATCH" in os.environ:
        low, high, vertical, flip = map(float, os.environ["SCRATCH"].split())
        return augment(low, high, bool(vertical), bool(flip))
    return None
