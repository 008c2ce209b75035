"""Mixing of each example with the one before it in the batch.

mixup is that of Zhang et al. 2018 ("mixup: Beyond Empirical Risk Minimization"), CutMix that of Yun
et al. 2019.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmodels import across
from jaxmodels.ops.augmentation.crops import Images, Number, Scalar
from jaxmodels.ops.augmentation.erasing import box_area, inside

Targets = Float[Array, "batch classes"]


def mixup(
    images: Images, targets: Targets, coefficient: Scalar
) -> tuple[Float[Array, "batch height width channels"], Targets]:
    """Computes coefficient * example + (1 - coefficient) * the example before it.

    Images and targets are mixed alike; images become float32 and keep their units.
    """
    images = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    return _blend(images, coefficient), _blend(targets, coefficient)


def cutmix(images: Images, targets: Targets, box: Int[Array, "4"]) -> tuple[Images, Targets]:
    """Replaces the box (top, left, height, width) of each image by that of the image before it.

    Targets are mixed in proportion to the areas.
    """
    height, width = images.shape[1:3]
    images = jnp.where(inside(box, height, width)[..., None], across.rotate(images), images)
    return images, _blend(targets, 1 - box_area(box, height, width))


def _blend(values: Array, coefficient: Scalar) -> Array:
    return coefficient * values + (1 - coefficient) * across.rotate(values)


def cutmix_box(
    key: Key[Array, ""], coefficient: Scalar, height: int, width: int
) -> Int[Array, "4"]:
    """Draws a box (top, left, height, width) (CutMix, section 3.1, rounded as in torchvision).

    Its sides are those of the image times sqrt(1 - coefficient). Its centre is anywhere in the
    image, at whose edges the box is cut.
    """
    size = jnp.asarray([height, width])
    centre = jax.random.randint(key, (2,), 0, size)
    half = (0.5 * jnp.sqrt(1.0 - coefficient) * size).astype(jnp.int32)
    corner, end = jnp.maximum(centre - half, 0), jnp.minimum(centre + half, size)
    return jnp.concatenate([corner, end - corner])


def random_mix(
    images: Images,
    targets: Targets,
    key: Key[Array, ""],
    mixup_alpha: Number = 0.0,
    cutmix_alpha: Number = 0.0,
) -> tuple[Images, Targets]:
    """Mixes the batch by mixup or CutMix, with one coefficient from Beta(alpha, alpha) for all.

    key: the same on all devices.
    mixup_alpha, cutmix_alpha: 0 leaves that kind out. With both, each batch takes one of the two
      with equal chances (timm's switch).
    """
    if not (mixup_alpha or cutmix_alpha):
        return images, targets
    draw, place, choice = jax.random.split(key, 3)
    both = bool(mixup_alpha and cutmix_alpha)
    is_mixup = jax.random.bernoulli(choice) if both else bool(mixup_alpha)
    alpha = jnp.where(is_mixup, mixup_alpha, cutmix_alpha)
    coefficient = jax.random.beta(draw, alpha, alpha)
    box = cutmix_box(place, coefficient, *images.shape[1:3])
    if not both:
        return mixup(images, targets, coefficient) if mixup_alpha else cutmix(images, targets, box)
    mixed_up = mixup(images, targets, coefficient)
    cut = cutmix(images.astype(mixed_up[0].dtype), targets, box)
    return jax.tree.map(lambda one, other: jnp.where(is_mixup, one, other), mixed_up, cut)
