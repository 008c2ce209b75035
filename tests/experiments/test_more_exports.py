"""What experiments of texts, tables and speech export as programs says what they predict."""

import json

import jax
import numpy as np
import pytest

from experiments import (
    detection,
    sentiment,
    speech_commands,
    speech_recognition,
    speech_synthesis,
    summarization,
    table,
    token_classification,
    translation,
    vae,
    vocoder,
)
from experiments.exports.images import export_classifier
from jaxmodels.data.images import images_from_arrays
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import ClassifierModels, flags_from_published, published_names
from jaxmodels.pretrained import load, open_weights
from jaxmodels.train import configure
from tests.data.audio.recordings import CLASSES, RATE, tone
from tests.experiments.test_detection import SMALL as DETECTOR
from tests.experiments.test_detection import data_of
from tests.experiments.test_export import run_onnx
from tests.experiments.test_sentiment import sentences
from tests.experiments.test_speech_commands import SMALL as COMMANDS
from tests.experiments.test_speech_synthesis import SMALL as SYNTHESIS
from tests.experiments.test_summarization import documents
from tests.experiments.test_token_classification import sentences as tagged
from tests.experiments.test_vocoder import SMALL as VOCODER

pytestmark = pytest.mark.slow

PAIRS = [(f"day {n}", f"{n} yad") for n in range(40)]
PLACES = [0.37 * n % 1 for n in range(60)]
ROWS = [{"a": a, "b": 0.61 * a % 0.1, "c": 3.0 * a + n % 3} for n, a in enumerate(PLACES)]
TAGS = [{"a": a, "tags": ["x"] * (a > 0.5) + ["y"] * (a < 0.7)} for a in PLACES]
SOUNDS = [(np.sin(np.arange(800) * (0.1 + 0.01 * n)), "ab" if n % 2 else "b") for n in range(40)]
TONES = {"train": [(tone(f, n), name) for name, f in CLASSES.items() for n in range(8)]}


def case(script, config, data, **flags):
    config = configure(config, **{"mesh": "data=1", "batch_size": 8, **flags})
    return script.build(config, data)


def cases(name):
    if name == "commands":
        config = speech_commands.SpeechCommandsConfig()
        return case(speech_commands, config, TONES, **COMMANDS, rate=RATE, level="bands")
    if name == "detector":
        return case(detection, detection.DetectionConfig(), data_of(8, 2), **DETECTOR)
    if name == "summary":
        flags = {"width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "beams": 2}
        data, config = documents(40), summarization.SummarizationConfig()
        return case(summarization, config, data, **flags, document_length=20, summary_length=6)
    if name == "synthesis":
        config = speech_synthesis.SpeechSynthesisConfig()
        return case(speech_synthesis, config, TONES, **SYNTHESIS, rate=RATE)
    if name == "vocoder":
        return case(vocoder, vocoder.VocoderConfig(), TONES, **VOCODER, rate=RATE)
    if name == "sentiment":
        flags = {"model": "lstm", "width": 8, "hidden": 8}
        return case(sentiment, sentiment.SentimentConfig(), {"train": sentences()}, **flags)
    if name == "tagger":
        config, flags = token_classification.TokenClassificationConfig(), {"layers": 1, "width": 16}
        data = {"train": tagged()}
        return case(token_classification, config, data, **flags, hidden=24)
    if name == "translation":
        flags = {"width": 16, "beams": 2, "validation_fraction": 0.2, "test_fraction": 0.2}
        config = translation.TranslationConfig()
        return case(translation, config, {"train": PAIRS}, **flags, tokenizer="chars")
    if name == "speech":
        config = speech_recognition.SpeechRecognitionConfig()
        flags = {"rate": 8000, "model": "lstm", "width": 8, "layers": 1}
        return case(speech_recognition, config, {"train": SOUNDS}, **flags)
    rows, target = (ROWS, "c") if name == "regression" else (TAGS, "tags")
    return case(table, table.TableConfig(), rows, target=target, hidden=(8,))


def random_state(experiment):
    """A state of which the answers of several inputs differ."""
    objective, spec = experiment.objective, experiment.train.spec(2)
    generator = np.random.default_rng(0)

    def drawn(path, leaf):
        if not np.issubdtype(leaf.dtype, np.floating):
            return leaf if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else 0
        noise = 0.3 * generator.normal(size=leaf.shape).astype(leaf.dtype)
        return 0.5 + np.abs(noise) if "var" in jax.tree_util.keystr(path) else noise

    shapes = jax.eval_shape(
        lambda key: objective.init(key, spec, objective.hyperparameters), jax.random.key(0)
    )
    return jax.tree_util.tree_map_with_path(drawn, shapes)


def given_to(experiment, told):
    """Up to three examples of what a program takes: of the data where these have it, or any."""
    split, generator = next(iter(experiment.evaluation)), np.random.default_rng(1)
    columns, given = getattr(experiment.evaluation[split], "arrays", {}), {}
    count = min([3, *(len(column) for column in columns.values())])
    for name, facts in told["inputs"].items():
        shape, kind = facts["shape"][1:], np.dtype(facts["type"])
        if name in columns:
            given[name] = np.asarray(columns[name][:count])
        elif kind.kind == "f":
            given[name] = generator.normal(size=(count, *shape)).astype(kind)
        else:
            given[name] = generator.integers(0, 2, (count, *shape)).astype(kind)
        if name == "source" and len(shape) == 1 and shape[0] > given[name].shape[1]:
            # Rows of an evaluation are shorter than those of the program of a translator.
            room = shape[0] - given[name].shape[1]
            given[name] = np.pad(given[name], ((0, 0), (0, room)), constant_values=-1)
    return given


def called(folder, program, inputs):
    content = bytearray((folder / f"{program}.stablehlo").read_bytes())
    return jax.export.deserialize(content).call(**inputs)


PREDICTED = {
    "sentiment": "classify",
    "tagger": "classify",
    "translation": "write",
    "summary": "write",
    "speech": "recognise",
    "regression": "predict",
    "multilabel": "predict",
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", PREDICTED)
def test_programs_say_what_is_predicted(name, tmp_path):
    experiment, program = cases(name), PREDICTED[name]
    state = random_state(experiment)
    experiment.exports["stablehlo"](state, tmp_path / "out")
    facts = json.loads((tmp_path / "out/program.json").read_text())
    inputs = given_to(experiment, facts["programs"][program])
    found = called(tmp_path / "out", program, inputs)
    split = next(iter(experiment.evaluation))
    columns = experiment.evaluation[split].arrays
    batch = {given: np.asarray(values[:3]) for given, values in columns.items()}
    predict = jax.jit(experiment.prediction.predict)
    wanted = predict(state, batch, jax.random.key(0))
    if name in ("sentiment", "tagger"):
        shares = jax.nn.softmax(found["logits"])
        np.testing.assert_allclose(found["probabilities"], shares, atol=1e-6)
    if name == "sentiment":
        np.testing.assert_allclose(found["logits"], wanted["logits"], atol=1e-5)
        assert facts["vocabulary"][: len(experiment.facts)] and facts["first_token"] == 2
    elif name == "tagger":
        assert np.array_equal(found["logits"].argmax(-1), wanted["tags"])
    elif name in ("translation", "speech", "summary"):
        assert np.array_equal(found["tokens"], wanted["tokens"])
    elif name == "regression":
        rows = [{"outputs": row} for row in wanted["outputs"]]
        predictions = [experiment.prediction.write(row)["prediction"] for row in rows]
        np.testing.assert_allclose(found["prediction"], predictions, rtol=1e-5)
    else:
        shares = 1 / (1 + np.exp(-np.asarray(wanted["outputs"], np.float64)))
        np.testing.assert_allclose(found["probabilities"], shares, atol=1e-6)
        assert facts["labels"] == ["x", "y"]
    assert_onnx_gives(found, experiment, state, program, inputs, tmp_path)


def assert_onnx_gives(wanted, experiment, state, program, inputs, folder):
    pytest.importorskip("onnx")
    experiment.exports["onnx"](state, folder / "onnx")
    found = run_onnx(folder / "onnx", program, inputs)
    assert found.keys() == wanted.keys()
    for key, value in found.items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "program"), [("commands", "classify"), ("detector", "detect"), ("vocoder", "vocode")]
)
def test_onnx_says_what_stablehlo_says(name, program, tmp_path):
    experiment = cases(name)
    state = random_state(experiment)
    experiment.exports["stablehlo"](state, tmp_path / "out")
    told = json.loads((tmp_path / "out/program.json").read_text())["programs"][program]
    inputs = given_to(experiment, told)
    found = called(tmp_path / "out", program, inputs)
    assert_onnx_gives(found, experiment, state, program, inputs, tmp_path)


@pytest.mark.usefixtures("unchecked")
def test_a_synthesis_says_words_of_noise(tmp_path):
    experiment = cases("synthesis")
    state = random_state(experiment)
    experiment.exports["stablehlo"](state, tmp_path / "out")
    facts = json.loads((tmp_path / "out/program.json").read_text())
    inputs = given_to(experiment, facts["programs"]["say"])
    found = called(tmp_path / "out", "say", inputs)
    assert facts["rate"] == RATE and facts["voices"]
    within = np.arange(found["sound"].shape[1]) < np.asarray(found["length"])[:, None]
    sound = np.asarray(found["sound"])
    assert np.abs(sound[within]).max() > 0 and not sound[~within].any()
    assert_onnx_gives(found, experiment, state, "say", inputs, tmp_path)


def test_a_ladder_of_latents_is_refused_with_the_reason(tmp_path):
    experiment = vae.build(configure(vae.VAEConfig(), model="ladder", scored=0, mesh="data=1"))
    with pytest.raises(InputError, match="one array of latents, which ladders"):
        experiment.exports["onnx"]({}, tmp_path / "out")


def test_an_efficientnet_leaves_under_its_published_names(tmp_path):
    models = ClassifierModels(model="efficientnet")
    images = np.zeros((4, 32, 32, 3), np.uint8)
    columns = {"image": images, "label": np.arange(4, dtype=np.int32) % 2}
    data = images_from_arrays({"train": columns}, class_names=("cat", "dog"))
    shapes = jax.eval_shape(models.create(2).init, jax.random.key(0), images[:1].astype("f4"))
    generator = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), shapes
    )
    state = {"ema": {}, **variables}
    normalization = Normalization((127.0,) * 3, (128.0,) * 3)
    arguments = models, data, normalization, (32, 32, 3), ""
    export_classifier(*arguments, state, tmp_path / "out")
    weights = open_weights(tmp_path / "out")
    assert {"_conv_stem.weight", "_blocks.0._bn1.running_var", "_fc.bias"} <= weights.keys()
    assert weights.config["id2label"] == {"0": "cat", "1": "dog"}
    assert flags_from_published(weights) == {"model": "efficientnet", "variant": "lite0"}
    found = load(weights, published_names(models, weights), shapes)
    jax.tree.map(np.testing.assert_array_equal, found, dict(variables))
