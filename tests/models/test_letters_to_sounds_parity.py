"""Sounds of words by the published weights, against the published code in numpy."""

import ast
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

from experiments.parts.speech_texts import TextsConfig, read_texts, texts_of
from jaxmodels.data.dataset import BadRecord
from jaxmodels.errors import InputError
from jaxmodels.models.letters_to_sounds import LETTERS, load_pronunciation

pytestmark = pytest.mark.parity

TEXT = """
the quick brown fox jumps over a lazy dog while seven wizards mix strange potions beneath ancient
towers because nobody believes that knights though brave could ever cough through enough dough or
plough rough fields without bright laughter people write psalms about islands colonels choirs and
yachts every wednesday in february their neighbours measure pleasure with rhythm and queues
mechanical engineers describe photographs of beautiful mountains physics chemistry psychology
mnemonic pneumonia gnome xylophone zebra quartz jazz activationist blockchain tokenizer vocoder
spectrogram telephone keys zero one two three four five six eight nine star hash yes no up down
left right on off stop go
"""


@pytest.fixture(scope="module")
def package():
    found = importlib.util.find_spec("g2p_en")
    if found is None or not found.submodule_search_locations:
        pytest.skip("g2p_en is not installed")
    return Path(found.submodule_search_locations[0])


@pytest.fixture(scope="module")
def reference(package):
    """The published class without its constructor, which asks for dictionaries, and without the
    imports of its module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its regular expressions are not raw
        tree = ast.parse((package / "g2p.py").read_text("utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    wanted = ("load_variables", "sigmoid", "grucell", "gru", "encode", "predict")
    constructor = next(node for node in found.body if getattr(node, "name", "") == "__init__")
    tables = [
        node
        for node in constructor.body
        if isinstance(node, ast.Assign)
        and getattr(node.targets[0], "attr", "") in ("graphemes", "phonemes", "g2idx", "idx2p")
    ]
    constructor.body = [*tables, ast.parse("self.load_variables()").body[0]]
    found.body = [node for node in found.body if getattr(node, "name", "") in (*wanted, "__init__")]
    names = {"np": np, "os": __import__("os"), "dirname": str(package)}
    exec(compile(ast.fix_missing_locations(ast.Module([found], [])), "g2p.py", "exec"), names)
    return names["G2p"]()


def test_the_sounds_of_words_are_those_of_the_published_code(package, reference):
    draw = np.random.default_rng(0)
    invented = ["".join(draw.choice(list(LETTERS), size)) for size in draw.integers(1, 20, 100)]
    words = [*dict.fromkeys(TEXT.split()), *invented, "don't", "naïve", "x" * 40]
    assert len(words) >= 200
    found = load_pronunciation(package / "checkpoint20.npz")(words)
    assert found == [reference.predict(word) for word in words]
    assert found[words.index("telephone")] == ["T", "EH1", "L", "AH0", "F", "OW2", "N"]


def test_texts_are_read_as_sounds(package, reference):
    path = str(package / "checkpoint20.npz")
    texts = texts_of(("1", "Star", "42"), TextsConfig(units="phones", g2p=path))
    one, star, number = (texts.split(word) for word in texts.words)
    assert (one, texts.words) == (reference.predict("one"), ("one", "star", "forty two"))
    assert number == [*reference.predict("forty"), " ", *reference.predict("two")]
    assert number.count(" ") == 1 and texts.longest == len(number)
    assert texts.facts()["phones"][1] == " ".join(star)
    rows = list(read_texts(["1 star", "zoo", "été 2x", "42 42"], texts, 3))
    assert rows[0][1]["tokens"].tolist()[: len(one)] == texts.tokens("one")[: len(one)].tolist()
    told = [str(row) for _, row in rows if isinstance(row, BadRecord)]
    assert "has the phone 'Z'" in told[0] and "has the letter '2'" in told[1]
    assert f"expected {texts.longest}" in told[2]
    with pytest.raises(InputError, match="a class has the letter '2'"):
        texts_of(("2x",), TextsConfig(units="phones", g2p=path))


def test_other_weights_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", enc_emb=np.zeros((29, 8), np.float32))
    with pytest.raises(InputError, match="holds other weights"):
        load_pronunciation(tmp_path / "other.npz")
