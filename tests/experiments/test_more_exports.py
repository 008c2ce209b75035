"""What experiments of texts, tables and speech export as programs says what they predict."""

import json

import jax
import numpy as np
import pytest

from experiments import sentiment, speech_recognition, table, token_classification, translation
from experiments.exports.images import export_classifier
from jaxmodels.data.images import images_from_arrays
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.models.classifiers import ClassifierModels, flags_from_published, published_names
from jaxmodels.pretrained import load, open_weights
from jaxmodels.train import configure
from tests.experiments.test_sentiment import sentences
from tests.experiments.test_token_classification import sentences as tagged

pytestmark = pytest.mark.slow

PAIRS = [(f"day {n}", f"{n} yad") for n in range(40)]
PLACES = [0.37 * n % 1 for n in range(60)]
ROWS = [{"a": a, "b": 0.61 * a % 0.1, "c": 3.0 * a + n % 3} for n, a in enumerate(PLACES)]
TAGS = [{"a": a, "tags": ["x"] * (a > 0.5) + ["y"] * (a < 0.7)} for a in PLACES]
SOUNDS = [(np.sin(np.arange(800) * (0.1 + 0.01 * n)), "ab" if n % 2 else "b") for n in range(40)]


def case(script, config, data, **flags):
    config = configure(config, **{"mesh": "data=1", "batch_size": 8, **flags})
    return script.build(config, data)


def cases(name):
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


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("sentiment", "classify"),
        ("tagger", "classify"),
        ("translation", "write"),
        ("speech", "recognise"),
        ("regression", "predict"),
        ("multilabel", "predict"),
    ],
)
def test_a_program_of_stablehlo_says_what_is_predicted(name, program, tmp_path):
    experiment = cases(name)
    objective = experiment.objective
    spec = experiment.train.spec(2)
    init = jax.jit(lambda key: objective.init(key, spec, objective.hyperparameters))
    state = init(jax.random.key(0))
    experiment.exports["stablehlo"](state, tmp_path / "out")
    facts = json.loads((tmp_path / "out/program.json").read_text())
    told = facts["programs"][program]
    content = bytearray((tmp_path / "out" / told["file"]).read_bytes())
    split = next(iter(experiment.evaluation))
    columns = experiment.evaluation[split].arrays
    inputs = {given: np.asarray(columns[given][:3]) for given in told["inputs"]}
    if name == "translation":
        # Rows of an evaluation are shorter than those of the program.
        room = told["inputs"]["source"]["shape"][1] - inputs["source"].shape[1]
        inputs["source"] = np.pad(inputs["source"], ((0, 0), (0, room)), constant_values=-1)
    found = jax.export.deserialize(content).call(**inputs)
    batch = {given: np.asarray(values[:3]) for given, values in columns.items()}
    wanted = experiment.prediction.predict(state, batch, jax.random.key(0))
    if name in ("sentiment", "tagger"):
        shares = jax.nn.softmax(found["logits"])
        np.testing.assert_allclose(found["probabilities"], shares, atol=1e-6)
    if name == "sentiment":
        np.testing.assert_allclose(found["logits"], wanted["logits"], atol=1e-5)
        assert facts["vocabulary"][: len(experiment.facts)] and facts["first_token"] == 2
    elif name == "tagger":
        assert np.array_equal(found["logits"].argmax(-1), wanted["tags"])
    elif name in ("translation", "speech"):
        assert np.array_equal(found["tokens"], wanted["tokens"])
    elif name == "regression":
        rows = [{"outputs": row} for row in wanted["outputs"]]
        predictions = [experiment.prediction.write(row)["prediction"] for row in rows]
        np.testing.assert_allclose(found["prediction"], predictions, rtol=1e-5)
    else:
        shares = 1 / (1 + np.exp(-np.asarray(wanted["outputs"], np.float64)))
        np.testing.assert_allclose(found["probabilities"], shares, atol=1e-6)
        assert facts["labels"] == ["x", "y"]


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
