"""The VAE experiment as a user runs it."""

import contextlib
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.vae import PRESETS, VAEConfig, build, pixels_of
from jaxmodels.data.images import images_from_arrays, load_images
from jaxmodels.errors import InputError
from jaxmodels.objectives.preprocessing import with_preprocessing
from jaxmodels.protocol import Objective
from jaxmodels.train import configure, main, train
from jaxmodels.train.program import keys_of
from tests.marks import slow

MLP = ["--model", "mlp", "--hidden", "8", "--latent-size", "3", "--likelihood", "bernoulli"]
SMALL = ["--batch-size", "16", "--steps", "4", "--eval-every", "2", "--log-every", "2"]
SMALL += ["--samples", "5", "--mesh", "data=1"]
SCORES = ["elbo", "reconstruction", "kl", "nll", "bits_per_dim", "active_units"]
SCORES += ["frechet_classifier", "frechet_classifier_reconstructions"]


def _run(*arguments):
    """Exit code, standard output and standard error of the command line."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(VAEConfig, build, PRESETS, [str(a) for a in arguments])
    return code, out.getvalue(), error.getvalue()


def _summary(out):
    return dict(field.split("=", 1) for field in out.splitlines()[-1].split(" "))


def _files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def run(judge, drawn, tmp_path_factory):
    """A short conditional run with a quick judge, and what it printed."""
    folder = tmp_path_factory.mktemp("vae")
    flags = ["--workdir", folder / "run", "--judge", judge, "--conditional"]
    code, out, error = _run(*flags, *MLP, *SMALL, "--scored", "50")
    assert code == 0, error
    return folder / "run", out


@pytest.mark.slow
def test_scores_and_their_protocol(run):
    folder, out = run
    summary = {name: value for name, value in _summary(out).items() if name.startswith("test/")}
    assert set(summary) == {f"test/{name}" for name in SCORES}
    scores = {name: float(summary[f"test/{name}"]) for name in SCORES}
    assert all(map(np.isfinite, scores.values()))
    assert scores["elbo"] == pytest.approx(-scores["reconstruction"] - scores["kl"], abs=1e-3)
    assert scores["bits_per_dim"] == pytest.approx(-scores["elbo"] / 64 / np.log(2), rel=1e-3)
    assert scores["nll"] < -scores["elbo"] + 0.5
    report = json.loads((folder / "evaluation.json").read_text())
    assert set(report) == {"validation", "test", "best", "best/test"}
    assert report["test"]["scores"]["nll"] == pytest.approx(scores["nll"], rel=1e-4)
    assert "nll" not in report["validation"]["scores"]
    protocol = report["test"]["protocol"]
    assert protocol["likelihood"] == "bernoulli"
    assert "binarised with probability pixel / 16" in protocol["images"]
    assert (protocol["split"], protocol["importance_samples"]) == ("test", 5)
    assert protocol["parameters"] == "average, decay 0.995"
    of_judge = protocol["distances"]["classifier"]
    assert (of_judge["real"], of_judge["samples"], of_judge["labels"]) == (360, 50, "in turn")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = {split: [line["step"] for line in lines if line["split"] == split]
             for split in ("train", "validation", "test")}  # fmt: skip
    assert steps == {"train": [2, 4], "validation": [2, 4], "test": [4]}


def test_pictures(run):
    folder, _ = run
    names = ["step-00000002", "step-00000004", "reconstructions", "interpolations"]
    names += ["traversals", "latents"]
    assert sorted(path.stem for path in (folder / "samples").iterdir()) == sorted(names)
    for name in names:
        pixels = np.asarray(Image.open(folder / f"samples/{name}.png").convert("L"))
        assert pixels.std() > 5
    assert (folder / "curves.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_a_test_split_of_few_images_has_pictures_too(tmp_path, count):
    generator = np.random.default_rng(0)
    splits = {
        split: {"image": generator.integers(0, 2, (size, 8, 8, 1), np.uint8)}
        for split, size in (("train", 16), ("test", count))
    }
    flags = {"model": "mlp", "hidden": [8], "latent_size": 3, "steps": 1, "batch_size": 16}
    config = configure(VAEConfig(), **flags, samples=2, scored=0, workdir=tmp_path, mesh="data=1")
    train(build, config, images_from_arrays(splits))
    names = {path.stem for path in (tmp_path / "samples").iterdir()}
    assert {"interpolations", "traversals", "latents"} <= names


@pytest.mark.slow
def test_evaluation_is_the_same_whenever_it_is_made(run):
    """The binarisation of validation and test, too; and it writes nothing."""
    folder, out = run
    before = _files(folder)
    flags = ["--workdir", folder, "--mode", "evaluate", "--scored", 0]
    results = [_run(*flags) for _ in range(2)]
    assert [code for code, _, _ in results] == [0, 0]
    trained, one, other = (_summary(text) for text in (out, results[0][1], results[1][1]))
    assert one == other
    for name in ("elbo", "reconstruction", "kl", "nll", "active_units"):
        assert float(one[f"test/{name}"]) == pytest.approx(float(trained[f"test/{name}"]), rel=1e-4)
    code, out, _ = _run(*flags, "--samples", 40)
    assert code == 0
    more = _summary(out)
    assert more["test/elbo"] == one["test/elbo"]
    assert float(more["test/nll"]) < float(one["test/nll"])
    assert _files(folder) == before


@pytest.mark.parametrize("draw", [slow("mean"), "sample"])
def test_samples_of_a_run(draw, run, tmp_path):
    folder, _ = run
    found = []
    for name in ("one.npz", "other.npz"):
        flags = ["--mode", "sample", "--count", 23, "--output", tmp_path / name, "--draw", draw]
        code, out, error = _run("--workdir", folder, *flags)
        assert code == 0, error
        assert out.startswith("step=4 count=23")
        found.append((tmp_path / name).read_bytes())
    assert found[0] == found[1]
    samples = np.load(tmp_path / "one.npz")
    assert samples["images"].shape == (23, 8, 8, 1)
    assert samples["images"].dtype == np.uint8
    np.testing.assert_array_equal(samples["labels"], np.arange(23) % 10)
    assert samples["images"].std(0).mean() > 0
    assert (set(np.unique(samples["images"])) == {0, 255}) == (draw == "sample")


@pytest.mark.slow
def test_a_ladder_of_levels_of_grey(tmp_path):
    flags = ["--model", "ladder", "--width", 4, "--depth", 2, "--latent-size", 2, *SMALL]
    flags += ["--likelihood", "logistic_mixture", "--mixtures", 2, "--scored", 0]
    code, out, error = _run(*flags, "--kl-warmup", 3, "--workdir", tmp_path / "run")
    assert code == 0, error
    summary = _summary(out)
    assert float(summary["test/nll"]) < -float(summary["test/elbo"]) + 0.5
    report = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert report["test"]["protocol"]["images"] == "17 levels"
    assert "distances" not in report["test"]["protocol"]
    pictures = {path.stem for path in (tmp_path / "run/samples").iterdir()}
    assert {"interpolations", "traversals", "latents", "reconstructions"} < pictures


CONFIG = configure(
    VAEConfig(), model="mlp", hidden=(8,), likelihood="bernoulli", scored=0, mode="sample"
)


def _pixels(config=CONFIG, data=None):
    """How the experiment models pixels of the digits, or of other data."""
    return pixels_of(config, data or load_images("digits"), 1)


def _digits(split, count=None):
    return load_images("digits").splits[split]["image"][:count]


def test_images_are_binarised_anew_at_every_step_with_their_grey_as_probability():
    prepare = _pixels().prepare
    batch = {"image": _digits("train", 6), "label": np.arange(6)}
    count = 1500
    keys = jax.random.split(jax.random.key(0), count)
    drawn = jax.jit(lambda keys: jax.lax.map(lambda k: prepare(batch, k)["image"], keys))(keys)
    assert set(np.unique(drawn)) == {0, 1}
    grey = batch["image"] / 16
    error = np.sqrt(grey * (1 - grey) / count)
    np.testing.assert_array_less(np.abs(np.mean(drawn, axis=0) - grey), 4.5 * error + 1e-6)
    np.testing.assert_array_equal(prepare(batch, jax.random.key(0))["label"], batch["label"])


def test_binarisation_is_keyed_by_seed_and_step():
    batch = {"image": jnp.asarray(_digits("train", 6))}
    images = lambda state, batch, key: (state, batch["image"])  # noqa: E731
    plain = Objective(images, images, images, images)
    step = with_preprocessing(plain, _pixels().prepare).step

    def seen(seed, number):
        _, images = step(None, batch, jax.random.fold_in(keys_of(seed).step, number))
        return np.asarray(images)

    np.testing.assert_array_equal(seen(3, 5), seen(3, 5))
    assert np.any(seen(3, 5) != seen(3, 6))
    assert np.any(seen(3, 5) != seen(4, 5))


def test_noise_of_preprocessing_is_that_of_the_position():
    """Of levels of grey, filled by noise: in an evaluation it does not depend on the batch."""
    prepare = _pixels(configure(CONFIG, likelihood="gaussian")).prepare
    images, key = _digits("train", 6), jax.random.key(0)
    whole = prepare({"image": images, "position": np.arange(6)}, key)["image"]
    part = prepare({"image": images[3:5], "position": np.array([3, 4])}, key)["image"]
    np.testing.assert_array_equal(whole[3:5], part)
    np.testing.assert_array_equal(np.floor(np.asarray(whole) * 17), images)
    filled = np.asarray(whole) * 17 - images
    assert abs(filled.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / filled.size)


def test_evaluated_images_are_binarised_once():
    """By their place in the split alone: not by seed, step or batch."""
    prepare = _pixels().prepare
    images = _digits("test")
    positions = np.arange(len(images))
    whole = prepare({"image": images, "position": positions}, jax.random.key(0))["image"]
    assert set(np.unique(whole)) == {0, 1}
    for seed, rows in ((0, slice(9)), (1, slice(100, 117))):
        batch = {"image": images[rows], "position": positions[rows]}
        np.testing.assert_array_equal(prepare(batch, jax.random.key(seed))["image"], whole[rows])
    stored = images / 16
    error = np.sqrt(np.sum(stored * (1 - stored), axis=0)) / len(stored)
    np.testing.assert_array_less(np.abs((whole - stored).mean(0)), 4.5 * error + 1e-9)


def _with_images(change, labelled=True):
    """Digits with other pixels."""
    data = load_images("digits")
    splits = {
        name: {"image": change(columns["image"])}
        | ({"label": columns["label"]} if labelled else {})
        for name, columns in data.splits.items()
    }
    return images_from_arrays(splits, class_names=data.class_names if labelled else None)


@pytest.mark.parametrize("white", [1, 255])
def test_images_that_are_binary_stay_as_they_are(white):
    data = _with_images(lambda images: (images > 7).astype(np.uint8) * np.uint8(white))
    prepare, experiment = _pixels(data=data).prepare, build(CONFIG, data)
    for split, source in (("train", experiment.train), ("test", experiment.evaluation["test"])):
        images = source.examples(np.arange(50))["image"]
        np.testing.assert_array_equal(images, (_digits(split, 50) > 7) * white)
        for batch in ({"image": images}, {"image": images, "position": np.arange(50)}):
            found = prepare(batch, jax.random.key(3))["image"]
            np.testing.assert_array_equal(found, images / white)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build(preset):
    config = configure(VAEConfig(), **PRESETS[preset].flags)
    config = configure(config, data="digits", mode="sample")
    config.validate()
    experiment = build(config)
    objective, spec = experiment.objective, experiment.train.spec(config.run.batch_size)
    numbers = objective.hyperparameters
    state = jax.eval_shape(lambda key: objective.init(key, spec, numbers), jax.random.key(0))
    assert state["step"].dtype == jnp.int32
    assert sum(leaf.size for leaf in jax.tree.leaves(state["params"])) > 1000


BAD = [
    (["--samples", "0"], "samples = 0"),
    (["--latent-size", "0"], "latent_size = 0"),
    (["--particles", "0"], "particles = 0"),
    (["--hidden", "0"], "hidden = (0,)"),
    (["--model", "ladder", "--depth", "0"], "depth = (0,)"),
    (["--ema", "1"], "ema = 1"),
    (["--likelihood", "bernouli"], "did you mean 'bernoulli'"),
    (["--objective", "elbow"], "did you mean 'elbo'"),
    (["--model", "vqave"], "did you mean 'vqvae'"),
    (["--activation", "tahn"], "did you mean 'tanh'"),
    (["--preset", "nonsense"], "unknown preset 'nonsense'"),
    (["--model", "ladder", "--flows", "2"], "--model mlp or conv"),
    (["--model", "ladder", "--latent-size", "3", "--blocks", "3"], "no such option: --model conv"),
    (["--model", "vqvae", "--flows", "2"], "--model mlp or conv"),
    (["--flows", "1", "--objective", "dreg"], "--flows 0"),
    (["--free-bits", "0.1", "--objective", "wae"], "--objective elbo"),
    (["--binarize", "dynamic", "--likelihood", "gaussian"], "--likelihood bernoulli"),
    (["--model", "conv", "--image-size", "3"], "3x3"),
    (["--objective", "wae", "--batch-size", "4", "--accumulate", "4"], "at least 2"),
    (["--objective", "beta_tc", "--batch-size", "1"], "at least 2"),
    (
        ["--objective", "beta_tc", "--stratified", "--batch-size", "4", "--accumulate", "4"],
        "at least 2",
    ),
]


def _is_refused(flags, message, workdir):
    model = [] if "--model" in flags else MLP
    code, out, error = _run("--workdir", workdir, "--scored", 0, *SMALL, *model, *flags)
    assert code == 2
    assert message in error
    assert (out, error.count("\n")) == ("", 1)
    assert not workdir.exists()


@pytest.mark.parametrize("flags, message", BAD, ids=lambda value: str(value)[:60])
def test_bad_input_is_one_line(flags, message, tmp_path):
    _is_refused(flags, message, tmp_path / "run")


def _is_refused_data(data, message, **flags):
    with pytest.raises(InputError, match=message):
        build(configure(CONFIG, **flags), data)


def test_negative_pixels_are_refused():
    data = _with_images(lambda images: images.astype(np.float32) / 8 - 1)
    _is_refused_data(data, r"span -1\.\.1")


def test_classes_of_images_without_labels_are_refused():
    data = _with_images(lambda images: images, labelled=False)
    _is_refused_data(data, "--no-conditional", conditional=True)


def test_levels_of_pixels_that_are_no_integers_are_refused():
    data = _with_images(lambda images: images.astype(np.float32) / 16)
    _is_refused_data(data, "--likelihood gaussian", likelihood="logistic_mixture")
