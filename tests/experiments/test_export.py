"""--mode export: what other programs run gives the same numbers, without this package."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import classifier, gan, table, vae
from jaxmodels.train import load_run, main

RUN = "--steps 2 --batch-size 8 --eval-every 100 --mesh data=1"
NOTHING = "import json, sys, numpy, jax, jax.export, jax.numpy as jnp\n"
CALL = """
facts = json.load(open(sys.argv[1] + "/program.json"))
given, found = numpy.load(sys.argv[2]), {}
content = open(f"{sys.argv[1]}/{sys.argv[4]}.stablehlo", "rb").read()
program = jax.export.deserialize(bytearray(content))
assert program.platforms == ("cpu", "cuda", "tpu")
assert "jaxmodels" not in sys.modules
numpy.savez(sys.argv[3], **program.call(**given))
"""


def _main(script, words, workdir, *more):
    config = next(c for name, c in vars(script).items() if name in _CONFIGS)
    arguments = [*words.split(), "--workdir", str(workdir), *map(str, more)]
    return main(config, script.build, arguments=arguments)


_CONFIGS = ("ClassifierConfig", "GANConfig", "TableConfig", "VAEConfig")


def run_elsewhere(folder, program, inputs):
    """Calls an exported program in a process that has jax and not this package."""
    files = [str(folder / name) for name in ("in.npz", "out.npz")]
    np.savez(files[0], **inputs)
    arguments = [sys.executable, "-I", "-c", NOTHING + CALL, str(folder), *files, program]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(arguments, check=True, env=environment, cwd=folder)
    return dict(np.load(files[1]))


def run_onnx(folder, program, inputs):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(folder / f"{program}.onnx"))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained classifier, and where to export it."""
    folder = tmp_path_factory.mktemp("exported")
    words = f"{RUN} --model cnn --channels 4 8 --hidden 8 --batch-norm --ema 0.5"
    assert _main(classifier, words, folder / "run") == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_a_classifier_gives_the_same_elsewhere(trained, kind):
    if kind == "onnx":
        pytest.importorskip("onnx")
    output = trained / kind
    words = f"--mode export --format {kind}"
    assert _main(classifier, words, trained / "run", "--output", output) == 0
    facts = json.loads((output / "program.json").read_text())
    assert facts["labels"] == list("0123456789")
    images = facts["programs"]["classify"]["inputs"]["image"]
    assert (images["shape"], images["type"]) == (["batch", 8, 8, 1], "uint8")
    run = load_run(trained / "run", data="digits")
    # Other numbers of images than the run knows.
    inputs = {"image": np.asarray(run.experiment.train.arrays["image"][:5])}
    assert inputs["image"].dtype == np.uint8
    found = (run_elsewhere if kind == "stablehlo" else run_onnx)(output, "classify", inputs)
    wanted = [list(line["probabilities"].values()) for line in run.predict(inputs["image"])]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-5)
    softmax = jax.nn.softmax(found["logits"])
    np.testing.assert_allclose(found["probabilities"], softmax, atol=1e-6)


def test_a_folder_that_exists_is_refused(trained, capsys):
    words = "--mode export --format stablehlo"
    assert _main(classifier, words, trained / "run", "--output", trained) == 2
    assert "it exists: name one that is to be made" in capsys.readouterr().err


# The checker of shapes cannot broadcast the symbol that stands for any number of images.
@pytest.mark.usefixtures("unchecked")
@pytest.mark.slow
def test_a_vae_leaves_as_encoder_and_decoder(tmp_path):
    words = f"{RUN} --model mlp --hidden 8 --latent-size 3 --scored 0 --samples 1"
    assert _main(vae, words, tmp_path / "run") == 0
    run = load_run(tmp_path / "run", data="digits")
    images = {"image": np.asarray(run.experiment.train.arrays["image"][:3])}
    latents = {"latent": np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)}
    drawn = run.experiment.objective.sample(
        run.state, jax.random.key(0), {"latents": jnp.asarray(latents["latent"])}
    )
    for kind, elsewhere in (("stablehlo", run_elsewhere), ("onnx", run_onnx)):
        output = tmp_path / kind
        more = "--mode export --format", kind, "--output", output
        assert _main(vae, " ".join(map(str, more)), tmp_path / "run") == 0
        found = elsewhere(output, "encode", images)["latent"]
        assert found.shape == (3, 3) and np.isfinite(found).all()
        pictures = elsewhere(output, "decode", latents)["image"]
        # A value that lies between two bytes may be rounded to either.
        difference = pictures.astype(int) - np.asarray(drawn["images"]).astype(int)
        assert np.abs(difference).max() <= 1


@pytest.mark.slow
def test_a_gan_leaves_as_its_generator(judge, tmp_path):
    words = f"{RUN} --model dcgan --width 4 --samples 10 --latent-size 4 --neighbours 2"
    words += f" --judge {judge}"
    assert _main(gan, words, tmp_path / "run") == 0
    run = load_run(tmp_path / "run")
    latents = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    label = np.array([0, 3, 9], np.int32)
    conditions = {"latents": jnp.asarray(latents), "labels": jnp.asarray(label)}
    drawn = run.experiment.objective.sample(run.state, jax.random.key(0), conditions)
    for kind, elsewhere in (("stablehlo", run_elsewhere), ("onnx", run_onnx)):
        output = tmp_path / kind
        more = "--mode export --format", kind, "--output", output
        assert _main(gan, " ".join(map(str, more)), tmp_path / "run") == 0
        found = elsewhere(output, "sample", {"latent": latents, "label": label})["image"]
        difference = found.astype(int) - np.asarray(drawn["images"]).astype(int)
        assert np.abs(difference).max() <= 1


@pytest.mark.slow
def test_a_classifier_of_rows_takes_encoded_columns(tmp_path):
    assert _main(table, f"{RUN} --data iris", tmp_path / "run") == 0
    run = load_run(tmp_path / "run", data="iris")
    output = tmp_path / "exported"
    assert (
        _main(table, "--mode export --format stablehlo", tmp_path / "run", "--output", output) == 0
    )
    facts = json.loads((output / "program.json").read_text())
    assert len(facts["columns"]) == 4 and len(facts["labels"]) == 3
    arrays = run.experiment.train.arrays
    inputs = {
        name: np.asarray(arrays[name][:5]) for name in facts["programs"]["classify"]["inputs"]
    }
    found = run_elsewhere(output, "classify", inputs)
    predict = run.experiment.prediction.predict
    columns = {name: np.asarray(column[:5]) for name, column in arrays.items()}
    wanted = run.map(predict, columns)["logits"]
    np.testing.assert_allclose(found["logits"], wanted, atol=1e-5)
