"""Prediction of masked tokens from all around them (Devlin et al. 2019, BERT, section 3.1)."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from jaxmodels import across
from jaxmodels.objectives.token_prediction import Questions, TokenPrediction, scored_of
from jaxmodels.ops import example_seeds, hash_bits, seeds_for
from jaxmodels.protocol import Batch, Score

SCORES = MappingProxyType(
    {
        "loss": Score("lower", "nats", "Mean cross-entropy of a masked token given those around."),
        "accuracy": Score(
            "higher", "", "Share of masked tokens that are the likeliest given those around."
        ),
    }
)
# Of the chosen tokens, the shares that become the mask, and another token (Devlin et al. 2019).
MASKED, RANDOM = 0.8, 0.1
_PURPOSE = 1  # of the key folded from that of a step, so that dropout does not follow the masks
_EVALUATION_SEED = 0


class Corrupted(NamedTuple):
    """Tokens of which some are hidden."""

    tokens: Int[Array, "batch length"]
    chosen: Bool[Array, "batch length"]  # the places whose tokens are asked for


def corrupt(
    tokens: Int[Array, "batch length"],
    rate: float,
    mask_token: int,
    key: Key[Array, ""],
    positions: Int[Array, " batch"],
) -> Corrupted:
    """Chooses each place with probability `rate`, and there puts the mask token in 80% of the
    cases, in 10% any token below the mask token, and in 10% leaves what is there.

    Places are chosen independently, as in RoBERTa's code; BERT's takes 15% of each window. They are
    a hash of the key, of the example's global position and of the place.
    """
    seeds = example_seeds(key, positions)
    choice, action, token = (hash_bits(seeds_for(seeds, use), tokens.shape[1:]) for use in range(3))
    chosen = choice <= _bound(rate)
    random = (token % jnp.uint32(mask_token)).astype(tokens.dtype)
    put = jnp.where(action <= _bound(MASKED), mask_token, random)
    is_changed = chosen & (action <= _bound(MASKED + RANDOM))
    return Corrupted(jnp.where(is_changed, put, tokens), chosen)


def _bound(probability: float) -> jax.Array:
    """Gives the largest of those of 2^32 numbers that have this probability together."""
    return jnp.uint32(max(round(probability * 2**32), 1) - 1)


@dataclass(frozen=True)
class MaskedLanguageModel(TokenPrediction):
    """The objective of `TokenPrediction` in which some tokens from the second on are hidden, and
    predicted from all others from the second on.

    In training the hidden places are new in each step; in an evaluation they are a function of the
    window's position in the split alone, so that all evaluations of all runs ask for the same.

    model: sees all tokens (causal=False), and its vocabulary has mask_token.
    mask_token: a token after those of the text.
    mask_rate: the share of tokens that are hidden.
    """

    _: KW_ONLY
    mask_token: int
    mask_rate: float = 0.15

    meanings: ClassVar[Mapping[str, Score]] = SCORES

    def training_questions(self, batch: Batch, key: Key[Array, ""]) -> Questions:
        """Hides tokens by the key of the step."""
        key = jax.random.fold_in(key, _PURPOSE)
        return self._questions(batch, key, across.positions(len(batch["tokens"])))

    def evaluation_questions(self, batch: Batch) -> Questions:
        """Hides the tokens that every evaluation of this split hides."""
        return self._questions(batch, jax.random.key(_EVALUATION_SEED), batch["position"])

    def _questions(
        self, batch: Batch, key: Key[Array, ""], positions: Int[Array, " batch"]
    ) -> Questions:
        targets, documents = batch["tokens"][:, 1:], batch.get("document")
        inputs, chosen = corrupt(targets, self.mask_rate, self.mask_token, key, positions)
        return Questions(
            inputs,
            targets,
            scored_of(batch) & chosen,
            None if documents is None else documents[:, 1:],
        )
