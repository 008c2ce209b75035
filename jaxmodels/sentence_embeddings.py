"""Embeddings of sentences by published weights (Reimers & Gurevych 2019, Sentence-BERT).

from jaxmodels.sentence_embeddings import load_sentence_encoder

encoder = load_sentence_encoder(Path("all-MiniLM-L6-v2"))
vectors = encoder(["A man eats.", "Someone is having a meal."])  # [2, 384], of length 1
similarity = vectors @ vectors.T
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxmodels.data.text.framing import Framing, in_rows, rounded_up
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.files import read_json
from jaxmodels.models.bert import Bert, BertConfig
from jaxmodels.models.bert_names import flags_from_published, published
from jaxmodels.models.text_inputs import TextInput, masked_mean
from jaxmodels.pretrained import load, open_weights
from jaxmodels.protocol import PyTree

_MULTIPLE = 32  # of the lengths that are compiled
_SMALLEST = 1e-12  # norm that is divided by, as torch's `normalize` has it


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """Sentences to vectors: the mean of BERT's last stream over the tokens of each, normalised.

    length: the most tokens of a sentence; the end of a longer one is cut off.
    normalised: vectors have length 1, so that a product is the cosine of an angle.
    batch_size: how many sentences are computed at once.
    """

    model: Bert
    variables: PyTree
    tokenizer: Framing
    length: int = 256
    normalised: bool = True
    batch_size: int = 64

    def __call__(self, sentences: Sequence[str]) -> Float[np.ndarray, "sentence width"]:
        """Computes the vector of each sentence. Sentences of like length are computed together, so
        that few tokens are padding and few lengths are compiled."""
        framed = self.tokenizer.framed([(sentence,) for sentence in sentences], self.length)
        vectors = np.zeros((len(framed), self.model.width), np.float32)
        order = np.argsort([-len(text.tokens) for text in framed], kind="stable")
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            texts = [framed[row] for row in rows]
            longest = max(len(text.tokens) for text in texts)
            columns = in_rows(texts, rounded_up(longest, _MULTIPLE, self.length))
            missing = self.batch_size - len(rows)
            tokens = np.pad(columns["tokens"], [(0, missing), (0, 0)], mode="edge")
            text = TextInput(jnp.asarray(tokens), jnp.zeros(tokens.shape, jnp.int32))
            found = _embedded(self.model, self.normalised, self.variables, text)
            vectors[rows] = np.asarray(found)[: len(rows)]
        return vectors


@jax.jit(static_argnums=(0, 1))
def _embedded(
    model: Bert, normalised: bool, variables: PyTree, text: TextInput
) -> Float[Array, "batch width"]:
    stream = model.apply(variables, text.ids, segments=text.segments, valid=text.valid)
    mean = masked_mean(jnp.asarray(stream), text.valid)
    if not normalised:
        return mean
    norm = jnp.linalg.norm(mean, axis=-1, keepdims=True)
    return mean / jnp.maximum(norm, _SMALLEST)


def load_sentence_encoder(folder: Path, batch_size: int = 64) -> SentenceEncoder:
    """Reads a folder as sentence-transformers writes it: BERT's or RoBERTa's config.json and
    weights, tokenizer.json, and beside them the length and the layers after BERT.

    Raises:
      InputError: files are missing or damaged, weights are those of another network, or vectors are
        not made by the mean over tokens.
    """
    weights = open_weights(folder)
    flags = flags_from_published(weights)
    config = BertConfig(**{name: value for name, value in flags.items() if name != "model"})
    tokenizer = load_tokenizer(folder)
    if not isinstance(tokenizer, Framing):
        raise InputError(f"{folder} has the tokenizer {tokenizer.name}; expected a published one")
    model = config.encoder(config.token_rows, pooler=False)
    one = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), one)
    variables = load(weights, published(config, classifier=False, pooler=False), shapes)
    pooling = _object(folder / "1_Pooling" / "config.json")
    if not pooling.get("pooling_mode_mean_tokens", True):
        raise InputError(f"{folder} makes vectors by other means; expected that over tokens")
    modules = read_json(folder / "modules.json") or ()
    kinds = [str(module.get("type")) for module in modules if isinstance(module, dict)]
    most = config.positions - model.position_offset
    length = _object(folder / "sentence_bert_config.json").get("max_seq_length") or most
    is_normalised = not kinds or any(kind.endswith("Normalize") for kind in kinds)
    return SentenceEncoder(
        model, variables, tokenizer, min(int(length), most), is_normalised, batch_size
    )


def _object(path: Path) -> dict[str, Any]:
    """Reads a file of a JSON object; empty where there is none."""
    found = read_json(path)
    return found if isinstance(found, dict) else {}
