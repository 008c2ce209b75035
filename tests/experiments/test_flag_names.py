"""Flags of an experiment have one meaning each: no two fields of its config share a name."""

from dataclasses import fields, is_dataclass
from pathlib import Path

from jaxmodels.__main__ import experiments
from jaxmodels.train.config import configure, sections_of
from jaxmodels.train.script import find_script

# Whisper does not look at the front end, whose bands its own replace; and the places of models of
# the next token are not Marian's.
KNOWN = {("speech_recognition", "whisper"): {"bands"}, ("summarization", "marian"): {"context"}}


def _names(config):
    sections = [config, *sections_of(config)]
    values = [
        (field.name, getattr(each, field.name)) for each in sections for field in fields(each)
    ]
    return [name for name, value in values if not is_dataclass(value)]


def _with_each_model(config):
    for section in sections_of(config):
        if isinstance(getattr(section, "model", None), str):
            for field in fields(section):
                if is_dataclass(getattr(section, field.name)):
                    yield field.name, configure(config, model=field.name)


def test_no_two_flags_share_a_name():
    """The weights of RoBERTa would otherwise set an epsilon of the optimizer."""
    found, seen = {}, 0
    for name, _ in experiments():
        config = find_script(Path(name), name, "")[0]()
        for model, chosen in _with_each_model(config):
            names, seen = _names(chosen), seen + 1
            if repeated := {each for each in names if names.count(each) > 1}:
                found[name, model] = repeated
    assert seen > 20
    assert found == KNOWN
