"""Augmentation by flags: what it asks for, only in training, and mixed targets in the loss."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import create_model
from jaxmodels.objectives.augmentation import AugmentationConfig, make_augmentation
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.protocol import DATA_AXIS, Objective

CLASSES = 4
SGD = OptimizerConfig(optimizer="sgd", learning_rate=0.1, schedule="constant")
GENERATOR = np.random.default_rng(0)
BATCH = {
    "image": jnp.asarray(GENERATOR.integers(0, 17, (12, 8, 8, 1)), jnp.uint8),
    "label": jnp.asarray(GENERATOR.integers(0, CLASSES, 12), jnp.int32),
}
ALL = AugmentationConfig(
    flip=True,
    crop=1,
    color_jitter=(0.4,),
    rand_augment_layers=1,
    erasing=0.5,
    mixup=0.2,
    cutmix=1.0,
)


def test_no_flags_are_no_augmentation():
    assert make_augmentation(AugmentationConfig(), CLASSES) is None
    objective = Classifier(create_model("mlp", classes=CLASSES), CLASSES, SGD, steps=10)
    assert with_preprocessing(objective, lambda batch, key: batch, None).step is not None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"crop": -1}, "crop = -1"),
        ({"erasing": 1.5}, "erasing = 1.5; expected 0 <= erasing <= 1"),
        ({"mixup": float("nan")}, "mixup = nan; expected a finite number"),
        ({"cutmix": float("inf")}, "cutmix = inf"),
        ({"color_jitter": (0.4, 0.4)}, r"color_jitter = 0\.4 0\.4; expected one strength or four"),
        ({"color_jitter": (-1.0,)}, "color_jitter = -1"),
        ({"color_jitter": (0.4, 0.4, 0.4, 0.6)}, r"hue <= 0\.5"),
        ({"rand_augment_magnitude": 31.0}, "expected 0 <= rand_augment_magnitude <= 30"),
    ],
)
def test_numbers_out_of_range_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        AugmentationConfig(**flags).validate()


def test_mixing_needs_classes():
    ALL.validate()
    with pytest.raises(InputError, match="mix labels"):
        make_augmentation(ALL, 0)
    with pytest.raises(InputError, match=r"= 2; .* have 4 channels .*--rand-augment-layers 0"):
        make_augmentation(AugmentationConfig(rand_augment_layers=2), CLASSES, channels=4)
    with pytest.raises(InputError, match=r"color_jitter = .* have 5 channels: leave out"):
        make_augmentation(AugmentationConfig(color_jitter=(0.4,)), CLASSES, channels=5)
    assert make_augmentation(AugmentationConfig(rand_augment_layers=2), CLASSES, channels=1)
    for flags in ({"flip": True}, {"color_jitter": (0.4,)}):
        assert make_augmentation(AugmentationConfig(**flags), CLASSES, channels=4)


@pytest.mark.parametrize("flag", ["flip", "crop", "color_jitter", "rand_augment_layers", "erasing"])
def test_a_flag_changes_pictures_and_neither_type_nor_labels(flag):
    augment = jax.jit(
        make_augmentation(
            AugmentationConfig(
                **{flag: {"flip": True, "erasing": 1.0, "color_jitter": (0.5,)}.get(flag, 1)}
            ),
            CLASSES,
            white=16.0,
        )
    )
    first, second = (augment(BATCH, jax.random.key(key)) for key in (0, 1))
    assert set(first) == {"image", "label"}
    assert first["image"].dtype == jnp.uint8
    assert first["image"].max() <= 16
    assert (first["image"] != BATCH["image"]).any()
    assert (first["image"] != second["image"]).any()
    np.testing.assert_array_equal(first["label"], BATCH["label"])


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}])
def test_mixed_targets_are_probabilities_of_both_labels(flags):
    mixed = jax.jit(make_augmentation(AugmentationConfig(**flags), CLASSES))(
        BATCH, jax.random.key(0)
    )
    np.testing.assert_allclose(mixed["target"].sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(mixed["label"], BATCH["label"])
    rows, partners = np.arange(12), np.roll(np.asarray(BATCH["label"]), 1)
    both = mixed["target"][rows, BATCH["label"]] + mixed["target"][rows, partners]
    alike = partners == np.asarray(BATCH["label"])
    np.testing.assert_allclose(np.where(alike, both / 2, both), 1, rtol=1e-6)


def _views(images, key):
    """Two views of a batch without labels, as contrastive objectives take them."""
    augment = make_augmentation(replace(ALL, mixup=0.0, cutmix=0.0), white=16.0)
    keys = (jax.random.fold_in(key, view) for view in range(2))
    return [augment({"image": images}, view_key)["image"] for view_key in keys]


@pytest.mark.slow
def test_two_keys_give_two_views_of_a_batch_without_labels():
    images, key = BATCH["image"], jax.random.key(0)
    first, second = jax.jit(_views)(images, key)
    assert (first != second).any()
    assert first.dtype == images.dtype
    # A view of an example depends on where it stands, and on no other example.
    for whole, shorter in zip((first, second), jax.jit(_views)(images[:5], key), strict=True):
        np.testing.assert_array_equal(whole[:5], shorter)
    mapped = jax.pmap(_views, DATA_AXIS, in_axes=(0, None), devices=jax.devices()[:4])
    for whole, parts in zip(
        (first, second), mapped(images.reshape(4, 3, *images.shape[1:]), key), strict=True
    ):
        np.testing.assert_array_equal(whole, parts.reshape(whole.shape))


@pytest.mark.slow
def test_views_in_evaluation_depend_on_the_position_in_the_split():
    augment = jax.jit(make_augmentation(replace(ALL, mixup=0.0, cutmix=0.0), white=16.0))
    key, positions = jax.random.key(0), jnp.array([7, 0, 11, 7])
    whole = augment({"image": BATCH["image"]}, key)["image"]
    part = augment({"image": BATCH["image"][positions], "position": positions}, key)["image"]
    np.testing.assert_array_equal(part, whole[positions])


def test_a_flag_does_not_change_what_another_draws():
    augment = (
        jax.jit(make_augmentation(AugmentationConfig(**flags), CLASSES))
        for flags in ({"crop": 2}, {"crop": 2, "mixup": 1e-9})
    )
    # With so small an alpha nothing is mixed, or each is its neighbour.
    alone, mixed = (change(BATCH, jax.random.key(0))["image"] for change in augment)
    assert any(np.allclose(np.roll(alone, by, 0), mixed, atol=1e-3) for by in (0, 1))


@pytest.mark.slow
def test_training_is_augmented_and_evaluation_is_not():
    network = create_model("mlp", classes=CLASSES, hidden=(8,), batch_norm=False)
    objective = Classifier(network, CLASSES, SGD, steps=10, label_smoothing=0.1)
    augment = make_augmentation(ALL, CLASSES, white=16.0)

    def prepare(batch, key):
        return {**batch, "image": batch["image"].astype(jnp.float32) / 16}

    plain = with_preprocessing(objective, prepare)
    whole = with_preprocessing(objective, prepare, augment)
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), BATCH)
    state = whole.init(jax.random.key(0), spec, objective.hyperparameters)
    valid, key = BATCH | {"valid": jnp.ones(12, bool)}, jax.random.key(1)
    a, b = (jax.jit(one.evaluate)(state, valid, key) for one in (plain, whole))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    logits = jax.jit(prepared(objective.predict, prepare))(state, valid, key)["logits"]
    np.testing.assert_array_equal(
        logits, jax.jit(objective.predict)(state, prepare(valid, key), key)["logits"]
    )
    keys = []

    def note(batch, key):
        keys.append(key)
        return batch

    idle = Objective.of(objective)._replace(step=lambda state, batch, key: (state, {}))
    with_preprocessing(idle, prepare, note).step(state, BATCH, key)
    after, sums = jax.jit(whole.step)(state, BATCH, key)
    batch = prepare(jax.jit(augment)(BATCH, keys[0]), None)

    def loss(params):
        logits = network.apply({"params": params}, batch["image"])
        target = 0.9 * batch["target"] + 0.1 / CLASSES
        return optax.losses.softmax_cross_entropy(logits, target).mean()

    value, gradients = jax.value_and_grad(loss)(state["params"])
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state["params"], gradients)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after["params"], expected
    )
    assert objective.summarize(sums)["loss"] == pytest.approx(float(value), rel=1e-5)
    logits = network.apply({"params": state["params"]}, batch["image"])
    hits = (jnp.argmax(logits, 1) == BATCH["label"]).mean()
    assert objective.summarize(sums)["accuracy"] == pytest.approx(float(hits))


@pytest.mark.slow
def test_accumulated_parts_have_their_targets():
    network = create_model("mlp", classes=CLASSES, hidden=(8,), batch_norm=False)
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), BATCH)

    def prepare(batch, key):
        return {**batch, "image": batch["image"].astype(jnp.float32) / 16}

    states = []
    for parts in (1, 3):
        objective = with_preprocessing(
            Classifier(network, CLASSES, SGD, steps=10, accumulate=parts),
            prepare,
            make_augmentation(ALL, CLASSES, white=16.0),
        )
        state = objective.init(jax.random.key(0), spec, objective.hyperparameters)
        states.append(jax.jit(objective.step)(state, BATCH, jax.random.key(1))[0]["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *states)
