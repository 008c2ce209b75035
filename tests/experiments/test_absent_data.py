"""Runs whose data are gone: what they keep is enough to predict and sample, to the bit."""

import json

import jax
import numpy as np
import pytest

from experiments import (
    classifier,
    detection,
    gan,
    language_model,
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
from jaxmodels.data.images import images_from_arrays
from jaxmodels.data.text import text_from_strings
from jaxmodels.data.text.tokenizers import Bytes
from jaxmodels.errors import InputError
from jaxmodels.run_record import seal_record
from jaxmodels.train import configure, load_run, train
from tests.data.audio.recordings import CLASSES, RATE, tone
from tests.experiments import (
    test_detection,
    test_sentiment,
    test_speech_commands,
    test_speech_recognition,
    test_speech_synthesis,
    test_summarization,
    test_table,
    test_token_classification,
    test_translation,
    test_vocoder,
)
from tests.marks import campaign, slow

_IMAGES = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1), np.uint8)
_LABELS = {"train": np.arange(16) % 3, "test": np.arange(4) % 3}


def _images(labelled, name="mine"):
    splits = {"train": {"image": _IMAGES[:16]}, "test": {"image": _IMAGES[16:]}}
    if labelled:
        splits = {s: {**columns, "label": _LABELS[s]} for s, columns in splits.items()}
    return images_from_arrays(splits, name, ("a", "b", "c") if labelled else None)


def _sounds(count=8):
    examples = [(tone(f, n), name) for name, f in CLASSES.items() for n in range(count)]
    return {"train": examples, "test": [(tone(f, 50), name) for name, f in CLASSES.items()]}


def _split(examples, count=8):
    return {"train": examples[count:], "test": examples[:count]}


def _text():
    config = configure(language_model.LanguageModelConfig(), tokenizer="bpe", vocabulary=270)
    config = configure(config, context=16)
    return text_from_strings(
        {"train": ["to be or not to be, " * 40], "test": ["to be or not" * 9]}, config.data
    )


def _words(folder):
    Bytes().save(folder)
    return {"model": "gpt2", "layers": 1, "width": 16, "heads": 2, "tokenizer": str(folder)}


# By name: the script, its data, flags, and what to predict for; None: what to sample.
_CASES = {
    "classifier": (classifier, lambda: _images(True), {"model": "mlp"}, _IMAGES[:2]),
    "vae": (
        vae,
        lambda: _images(False),
        {"model": "mlp", "hidden": (8,), "samples": 2, "scored": 0},
        _IMAGES,
    ),
    "gan": (
        gan,
        lambda: _images(False),
        {"width": 8, "latent_size": 4, "samples": 20, "neighbours": 2, "conditional": False},
        None,
    ),
    "language_model": (
        language_model,
        _text,
        {"width": 16, "head_size": 8, "depth": 1, "context": 16, "vocabulary": 270},
        ["to be"],
    ),
    "sentiment": (
        sentiment,
        lambda: _split(test_sentiment.sentences()),
        {**test_sentiment.SMALL, "class_weights": "balanced", "buckets": 2},
        ["a good one", "bad"],
    ),
    "bag": (
        sentiment,
        lambda: _split(test_sentiment.sentences()),
        {"model": "bag"},
        ["a good one", "bad"],
    ),
    "translation": (
        translation,
        lambda: _split(test_translation.pairs()),
        {**test_translation.SMALL, "validation_fraction": 0.0},
        ["abca"],
    ),
    "summarization": (
        summarization,
        lambda: test_summarization.documents(32),
        {**test_summarization.SMALL},
        ["The pump was dry. It leaked."],
    ),
    "prompted": (
        summarization,
        lambda: test_summarization.documents(32),
        {"summary_length": 8, "document_length": 32, "batch_size": 4},
        ["The pump was dry. It leaked."],
    ),
    "token_classification": (
        token_classification,
        lambda: _split(test_token_classification.sentences()),
        {**test_token_classification.SMALL, "validation_fraction": 0.0},
        ["Anna is in Bern"],
    ),
    "table": (
        table,
        lambda: {name: list(values) for name, values in test_table._columns().items()},
        {"target": "price", "hidden": (8,), "batch_size": 16},
        [{"size": 100, "age": 3, "town": "Ulm", "kind": "house"}],
    ),
    "detection": (
        detection,
        lambda: test_detection.data_of(16),
        test_detection.SMALL,
        test_detection.data_of(2)["train"]["image"],
    ),
    "speech_commands": (
        speech_commands,
        _sounds,
        {**test_speech_commands.SMALL, "rate": RATE, "validation_fraction": 0.0},
        [tone(300, 70)],
    ),
    "speech_recognition": (
        speech_recognition,
        lambda: _split(test_speech_recognition.recordings(32)),
        {
            **test_speech_recognition.TINY,
            **test_speech_recognition.SMALL,
            "model": "lstm",
            "hidden": 8,
            "beams": 2,
            "grammar": 2,
        },
        [tone(300, 70)],
    ),
    "speech_synthesis": (
        speech_synthesis,
        _sounds,
        {**test_speech_synthesis.SMALL, "rate": RATE, "validation_fraction": 0.0},
        ["low"],
    ),
    "vocoder": (
        vocoder,
        _sounds,
        {**test_vocoder.SMALL, "rate": RATE, "validation_fraction": 0.0},
        [tone(300, 70)],
    ),
}


_IN_THE_GATE = ("sentiment", "vae", "prompted", "speech_synthesis")


@pytest.mark.parametrize(
    "name",
    [
        "sentiment",
        *(slow(name) for name in _CASES if name in _IN_THE_GATE[1:]),
        *(campaign(name) for name in _CASES if name not in _IN_THE_GATE),
    ],
)
def test_a_run_is_used_without_its_data_as_with_them(tmp_path, name):
    script, data_of, flags, inputs = _CASES[name]
    [config_class] = [c for c in vars(script).values() if _is_config(c, script)]
    if name == "prompted":
        flags = flags | _words(tmp_path)
    flags = {"batch_size": 8, **flags, "steps": 1, "log_every": 1, "eval_every": 1}
    flags |= {"mesh": "data=1", "workdir": str(tmp_path / "run")}
    config = configure(config_class(), **flags)
    data = data_of()
    train(script.build, config, data)
    (tmp_path / "tokenizer.json").unlink(missing_ok=True)
    bare, whole = (
        load_run(tmp_path / "run"),
        load_run(tmp_path / "run", data=_given(data, tmp_path)),
    )
    if inputs is not None:
        lines = bare.predict(inputs)
        assert json.dumps(_plain(lines)) == json.dumps(_plain(whole.predict(inputs)))
        assert not any("error" in line for line in lines)
    if script in (gan, vae):
        key = jax.random.key(1)
        drawn = [run.experiment.objective.sample(run.state, key, 2) for run in (bare, whole)]
        jax.tree.map(np.testing.assert_array_equal, *drawn)
    with pytest.raises(InputError, match="expected load_run"):
        bare.experiment.train.examples(np.arange(1))


def _is_config(value, script):
    return (
        isinstance(value, type)
        and value.__module__ == script.__name__
        and hasattr(value, "experiment")
    )


def _given(data, folder):
    """Puts a tokenizer that was taken away back, for a run that reads its data again."""
    Bytes().save(folder)
    return data


def _plain(lines):
    return [{n: np.asarray(v).tolist() for n, v in line.items()} for line in lines]


def test_what_was_kept_is_checked(tmp_path, capsys):
    run = tmp_path / "run"
    flags = {"model": "mlp", "steps": 1, "batch_size": 8, "schedule": "constant"}
    flags |= {"mesh": "data=1", "workdir": str(run)}
    config = configure(classifier.ClassifierConfig(), **flags)
    data = _images(True)
    train(classifier.build, config, data)
    kept = json.loads((run / "data.json").read_text())
    other = {**kept, "facts": "0" * 16}
    for content, why in (
        ("{", "it cannot be read"),
        (json.dumps({**kept, "values": {}}), "it was changed since it was written"),
        (json.dumps(seal_record(other)), "it is of another run"),
        (json.dumps(seal_record({**kept, "format": 9})), "its format is 9"),
    ):
        (run / "data.json").write_text(content)
        with pytest.raises(InputError, match=f"data.json is not what .*: {why}"):
            load_run(run)
    # An older run has kept nothing, so its data are read.
    (run / "data.json").unlink()
    with pytest.raises(InputError, match=r"give them again, load_run\('.*', data=data\)"):
        load_run(run)
    assert load_run(run, data=data).predict(_IMAGES[:1])
    # The next session of training keeps it.
    train(classifier.build, configure(config, steps=2), data)
    assert json.loads((run / "data.json").read_text()) == kept
