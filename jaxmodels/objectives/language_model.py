"""Language modelling: cross-entropy of each token given those before it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from jaxmodels import decoding
from jaxmodels.objectives.descent import learned_of
from jaxmodels.objectives.token_prediction import Questions, TokenPrediction, scored_of
from jaxmodels.protocol import Batch, PyTree, Score, State

SCORES = MappingProxyType(
    {
        "loss": Score("lower", "nats", "Mean cross-entropy of a token given those before it."),
        "accuracy": Score(
            "higher", "", "Share of tokens that are the likeliest given those before."
        ),
    }
)


@dataclass(frozen=True)
class LanguageModel(TokenPrediction):
    """The objective of `TokenPrediction` in which each token from the second on is predicted from
    those before it."""

    meanings: ClassVar[Mapping[str, Score]] = SCORES

    def training_questions(self, batch: Batch, key: Key[Array, ""]) -> Questions:
        """Asks at each place for the next token."""
        return self.evaluation_questions(batch)

    def evaluation_questions(self, batch: Batch) -> Questions:
        """Asks at each place for the next token."""
        tokens, documents = batch["tokens"], batch.get("document")
        return Questions(
            tokens[:, :-1],
            tokens[:, 1:],
            scored_of(batch),
            None if documents is None else documents[:, :-1],
        )

    def predict(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> dict[str, Float[Array, " batch"]]:
        """Computes the "nats" of each example's scored tokens, which it sums."""
        questions = self.evaluation_questions(batch)
        found = self.answered(learned_of(state)["params"], questions)
        return {"nats": jnp.sum(jnp.where(questions.scored, found.losses, 0), axis=1)}

    def predict_windows(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> dict[str, Shaped[Array, " batch"]]:
        """Does so for examples of several windows, [batch, windows, ...], and passes on their
        "bytes"."""
        count, windows = batch["tokens"].shape[:2]
        flat = {name: batch[name].reshape(count * windows, -1) for name in ("tokens", "scored")}
        nats = self.predict(state, flat, key)["nats"].reshape(count, windows)
        return {"nats": jnp.sum(nats, axis=1), "bytes": batch["bytes"]}

    def sample(
        self, state: State, key: Key[Array, ""], conditions: Mapping[str, Any]
    ) -> dict[str, Int[Array, "..."]]:
        """Goes on with texts, until each has ended or filled its row.

        conditions: "tokens", Int[count, room], begin with a prompt of "length" tokens, Int[count];
          "choice" is a `decoding.Choice`, and "end" the token that ends a text, or -1. What is
          returned has the "tokens" and "length" of the texts. The key of a text is folded from its
          row.
        """
        step = self.writing_step(learned_of(state)["params"])
        tokens, length, context = conditions["tokens"], conditions["length"], self.model.context
        writing = decoding.extend(
            step,
            decoding.begin(step, tokens, length, context),
            tokens.shape[1],
            keys_of_rows(key, len(tokens)),
            conditions["choice"],
            conditions["end"],
            context,
        )
        return {"tokens": writing.tokens, "length": writing.length}

    def stream(
        self, state: State, key: Key[Array, ""], conditions: Mapping[str, Any]
    ) -> Iterator[tuple[Int[np.ndarray, "count room"], Int[np.ndarray, " count"]]]:
        """Yields tokens and lengths of the texts of `sample` again and again while they grow."""
        tokens = jnp.asarray(conditions["tokens"])
        return decoding.stream(
            self.writing_step,
            learned_of(state)["params"],
            tokens,
            jnp.asarray(conditions["length"]),
            keys_of_rows(key, len(tokens)),
            conditions["choice"],
            int(conditions["end"]),
            self.model.context,
        )

    def writing_step(self, params: PyTree) -> decoding.Step:
        """Makes the model's step with a cache."""
        apply = partial(self.network.apply, {"params": params})
        return decoding.Step(partial(apply, method="decode"), partial(apply, method="empty_cache"))


def keys_of_rows(key: Key[Array, ""], count: int) -> Key[Array, " count"]:
    """Makes the key of each text, folded from its row."""
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))
