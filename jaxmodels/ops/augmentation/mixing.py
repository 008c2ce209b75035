"""Images mixed with their neighbours in the batch: mixup (Zhang et al. 2018, "mixup: Beyond
Empirical Risk Minimization") and CutMix (Yun et al. 2019)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmodels import across
from jaxmodels.ops.augmentation.crops import Images
from jaxmodels.ops.augmentation.erasing import box_area, inside

Targets = Float[Array, "batch classes"]


def mixup(
    images: Images, targets: Targets, coefficient: Float[Array, ""] | float
) -> tuple[Float[Array, "batch height width channels"], Targets]:
    """coefficient * example + (1 - coefficient) * the one before, of images (as float32, in their
    units) and targets alike."""
    images = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    return _blend(images, coefficient), _blend(targets, coefficient)


def cutmix(images: Images, targets: Targets, box: Int[Array, "4"]) -> tuple[Images, Targets]:
    """The images with what is in the box (top, left, height, width) from the one before, and
    targets mixed by the areas."""
    height, width = images.shape[1:3]
    images = jnp.where(inside(box, height, width)[..., None], across.rotate(images), images)
    return images, _blend(targets, 1 - box_area(box, height, width))


def _blend(values: Array, coefficient: Float[Array, ""] | float) -> Array:
    return coefficient * values + (1 - coefficient) * across.rotate(values)


def cutmix_box(
    key: Key[Array, ""], coefficient: Float[Array, ""] | float, height: int, width: int
) -> Int[Array, "4"]:
    """A box (top, left, height, width) with the sides of the picture times
    sqrt(1 - coefficient), its centre anywhere and cut at the edges (section 3.1 of CutMix, with
    the rounding of torchvision)."""
    size = jnp.asarray([height, width])
    centre = jax.random.randint(key, (2,), 0, size)
    half = (0.5 * jnp.sqrt(1.0 - coefficient) * size).astype(jnp.int32)
    corner, end = jnp.maximum(centre - half, 0), jnp.minimum(centre + half, size)
    return jnp.concatenate([corner, end - corner])


def random_mix(
    images: Images,
    targets: Targets,
    key: Key[Array, ""],
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> tuple[Images, Targets]:
    """The batch mixed by mixup or CutMix, with one coefficient from Beta(alpha, alpha) for all of
    it; where both have an alpha each batch takes one of them, as likely (timm's switch).

    key: the same on all devices. An alpha of 0 leaves that kind out.
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
