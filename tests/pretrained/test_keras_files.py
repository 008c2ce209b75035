"""Files of Keras: what is refused, and that networks go out and come back to the bit."""

import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from experiments import classifier
from experiments.exports.keras import export_keras
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import ClassifierModels, flags_from_published, published_names
from jaxmodels.models.cnn import CNNConfig
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.pretrained import load, open_weights
from jaxmodels.train import main

h5py = pytest.importorskip("h5py")

CNN = ClassifierModels(cnn=CNNConfig(channels=(3, 4), hidden=(5,), batch_norm=True))
PLAIN = ClassifierModels(cnn=CNNConfig(channels=(3,), hidden=()))
TINY = ClassifierModels(model="resnet", resnet=ResNetConfig(variant="tiny", width=4))
DEEP = ClassifierModels(model="resnet", resnet=ResNetConfig(variant="50", width=4, depths=(1, 1)))
CLASSES, SIDES = 3, (10, 9, 2)
NORMALIZATION = Normalization((100.0, 120.0), (50.0, 60.0))


def drawn(models, sides=SIDES, pad=1):
    """Variables of a network that are all far from their initial values."""
    height, width, channels = sides
    example = np.zeros((1, height + 2 * pad, width + 2 * pad, channels), np.float32)
    shapes = jax.eval_shape(models.create(CLASSES).init, jax.random.key(0), example)
    generator = np.random.default_rng(0)

    def draw(path, leaf):
        noise = generator.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key in ("var", "scale"):
            return np.exp(0.3 * noise)
        return noise / np.float32(np.sqrt(np.prod(leaf.shape[:-1], initial=4)))

    return jax.tree_util.tree_map_with_path(draw, {"batch_stats": {}, **shapes})


def written(models, path, pad=1):
    variables = drawn(models, pad=pad)
    state = {"params": jax.tree.map(np.zeros_like, variables["params"]), "ema": variables}
    export_keras(models, CLASSES, NORMALIZATION, SIDES, pad, state, path)
    return variables


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
@pytest.mark.parametrize("models", [CNN, PLAIN, TINY, DEEP])
def test_weights_go_out_and_come_back_to_the_bit(models, ending, tmp_path):
    variables = written(models, tmp_path / f"a{ending}")
    weights = open_weights(tmp_path / f"a{ending}")
    found = load(weights, published_names(models, weights), variables)
    assert flatten_dict(found).keys() == flatten_dict(variables).keys() - {("batch_stats",)}
    jax.tree.map(np.testing.assert_array_equal, found["params"], variables["params"])
    jax.tree.map(
        np.testing.assert_array_equal, found.get("batch_stats", {}), variables["batch_stats"]
    )
    flags = flags_from_published(weights)
    assert flags.pop("model") == models.model
    assert all(getattr(models.cnn, name) == value for name, value in flags.items())


def test_what_no_network_here_has_is_refused(tmp_path):
    path = tmp_path / "a.keras"
    written(CNN, path)
    with pytest.raises(InputError, match="exists; name a file that is to be made"):
        written(CNN, path)
    with pytest.raises(InputError, match=r"expected NAME.keras or NAME.weights.h5"):
        written(CNN, tmp_path / "folder")
    with pytest.raises(InputError, match="model = mlp; there is no graph of Keras of it"):
        written(ClassifierModels(model="mlp"), tmp_path / "b.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def changed(old, new):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content.replace(old, new))
        return open_weights(path)

    with pytest.raises(InputError, match=r"epsilon = 0.001; expected 1e-05"):
        flags_from_published(changed(b'"epsilon": 1e-05', b'"epsilon": 1e-03'))
    with pytest.raises(InputError, match="activation = tanh; expected relu"):
        flags_from_published(changed(b'"units": 5', b'"units": 5, "activation": "tanh"'))
    with pytest.raises(InputError, match=r"not readable as Keras's: it has no model.weights.h5"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps({}))
        open_weights(path)
    path.write_bytes(parts["model.weights.h5"][:2000])
    with pytest.raises(InputError, match="not readable as Keras's"):
        open_weights(path)


def test_an_array_in_another_file_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.create_dataset("0", (4,), np.float32, external=[(str(tmp_path / "secret"), 0, 16)])
    with pytest.raises(InputError, match="layers/conv2d/vars/0 lies in another file"):
        open_weights(tmp_path / "a.weights.h5")


# Variables of Keras are made arrays of in a way that numpy is about to drop.
THEIRS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def keras():
    """Keras on jax; it reads its backend when it is first imported."""
    import os
    import sys

    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "jax"
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "jax":
        pytest.skip("keras was imported with another backend")
    return keras


@THEIRS
@pytest.mark.parity
@pytest.mark.parametrize("models", [CNN, PLAIN, TINY, DEEP])
def test_keras_loads_what_is_written(models, keras, tmp_path):
    variables = written(models, tmp_path / "a.keras")
    images = np.random.default_rng(1).integers(0, 256, (2, *SIDES), np.uint8)
    theirs = keras.models.load_model(tmp_path / "a.keras")
    prepared = NORMALIZATION(np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))))
    ours = models.create(CLASSES).apply(jax.tree.map(jnp.asarray, variables), prepared)
    np.testing.assert_allclose(theirs(images), ours, rtol=1e-5, atol=1e-5)
    # Their own file has our names, in the same order; and ours goes into their model.
    theirs.save_weights(tmp_path / "b.weights.h5")
    weights = open_weights(tmp_path / "b.weights.h5")
    found = load(weights, published_names(models, weights), variables)
    jax.tree.map(np.testing.assert_array_equal, found["params"], variables["params"])
    written(models, tmp_path / "c.weights.h5")
    theirs.set_weights([0 * array for array in theirs.get_weights()])
    theirs.load_weights(tmp_path / "c.weights.h5")
    np.testing.assert_allclose(theirs(images), ours, rtol=1e-5, atol=1e-5)


@THEIRS
@pytest.mark.parity
def test_a_model_that_keras_made_is_read(keras, tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="mine"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(6, activation="relu"),
            layers.Dense(CLASSES, name="logits"),
        ]
    )
    model.compile("adam", "mse")
    images = np.random.default_rng(1).normal(size=(4, 8, 8, 1)).astype(np.float32)
    model.fit(images, np.zeros((4, CLASSES)), verbose=0)  # which makes states of the optimiser
    for name in ("a.keras", "a.weights.h5"):
        save = model.save if name.endswith(".keras") else model.save_weights
        save(tmp_path / name)
        weights = open_weights(tmp_path / name)
        flags = flags_from_published(weights)
        expected = {"model": "cnn", "channels": (4,), "hidden": (6,), "batch_norm": False}
        assert flags == expected
        models = ClassifierModels(cnn=CNNConfig(channels=(4,), hidden=(6,)))
        shapes = drawn(models, (8, 8, 1), pad=0)
        found = load(weights, published_names(models, weights), shapes)
        ours = models.create(CLASSES).apply(found, jnp.asarray(images))
        np.testing.assert_allclose(ours, model(images, training=False), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_run_leaves_for_keras_and_another_starts_from_it(tmp_path, capsys):
    given = classifier.ClassifierConfig, classifier.build, classifier.PRESETS
    words = ["--mesh", "data=1", "--workdir", str(tmp_path / "run")]
    small = "--steps 2 --batch-size 8 --eval-every 2 --channels 4 --hidden 8 --batch-norm --pad 1"
    assert main(*given, [*words, *small.split()]) == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    loss = next(float(part.split("=")[1]) for part in last if part.startswith("test/loss="))
    path = str(tmp_path / "a.keras")
    more = ["--mode", "export", "--format", "keras", "--output", path]
    assert main(*given, [*words, *more]) == 0
    words[-1] = str(tmp_path / "other")
    more = ["--mode", "evaluate", "--init-from", path, "--pad", "1"]
    assert main(*given, [*words, *more]) == 0
    assert f"test/loss={loss:.5g}"[:14] in capsys.readouterr().out
