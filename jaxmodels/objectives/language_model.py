"""Language modelling: cross-entropy of each token given those before it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from jaxmodels import decoding
from jaxmodels.objectives import mup, spikes
from jaxmodels.objectives.descent import descend_measured, initial_state, learned_of
from jaxmodels.objectives.gradients import gradients_of, losses_in_parts
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.ops import HeadLosses, head_cross_entropy
from jaxmodels.protocol import (
    Batch,
    BatchSpec,
    Hyperparameters,
    Losses,
    Mean,
    PyTree,
    Score,
    State,
    mean_over,
)

SCORES = {
    "loss": Score("lower", "nats", "Mean cross-entropy of a token given those before it."),
    "accuracy": Score("higher", "", "Share of tokens that are the likeliest given those before."),
    **spikes.SCORES,
}

_NORM = Score("neither", "", "Root mean square of the residual stream after the block.")


def _norm_of(block: int) -> str:
    return f"norm/block_{block}"


class TokenSums(NamedTuple):
    """What `LanguageModel.evaluate` sums over the tokens that are scored."""

    loss: Mean  # nats
    accuracy: Mean


@dataclass(frozen=True)
class LanguageModel:
    """The objective of batches {"tokens": Int[batch, length + 1]}: each token from the second on is
    predicted from those before it.

    A batch may have "scored", Bool[batch, length]: which of these predictions count; and
    "document", Int[batch, length + 1]: attention stays inside of a document.

    model: has a method hidden_and_head(tokens, documents=, train=, dropout_rate=), which gives the
      input of the head [batch, length, width] and its kernel [width, vocabulary].
    steps: the length of the run, over which the learning rate may be laid out.
    z_loss: the weight of the squared logarithm of the softmax's normaliser (see
      `head_cross_entropy`); the score `loss` is without it.
    dropout, ema, z_loss: enter the state as hyperparameters. Zero leaves the term out of the
      program, so that changing it in the state has no effect.
    accumulate: the number of parts of a batch, which are computed one after another.
    base: the model at the width for which rates and initial values were chosen; the model's own
      follow from them (see `mup`). None: they are the model's own. The model then needs a field
      output_scale.
    """

    model: nn.Module
    optimizer: OptimizerConfig
    steps: int
    z_loss: float = 0.0
    dropout: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    base: nn.Module | None = None

    @cached_property
    def network(self) -> nn.Module:
        """The model, with the scale of its outputs."""
        if self._factors is None:
            return self.model
        return self.model.clone(output_scale=self._factors.output)

    @cached_property
    def _factors(self) -> mup.Multipliers | None:
        if self.base is None:
            return None
        tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
        shapes = [
            jax.eval_shape(module.init, jax.random.key(0), tokens)["params"]
            for module in (self.base, self.model)
        ]
        return mup.multipliers(self.optimizer.optimizer, *shapes)

    @property
    def scores(self) -> dict[str, Score]:
        """What every number means, those of the model's blocks too."""
        blocks = range(getattr(self.model, "layers", 0))
        return SCORES | {_norm_of(index): _NORM for index in blocks}

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        own = {"z_loss": self.z_loss, "dropout": self.dropout, "ema": self.ema}
        return {**self.optimizer.hyperparameters(), **own}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step."""
        tokens = jnp.zeros((1, spec["tokens"].shape[1] - 1), jnp.int32)
        params = self.model.init(key, tokens)["params"]
        if self.base is not None and self._factors is not None:
            of_base = self.base.init(key, tokens)["params"]
            params = mup.initial_values(params, of_base, self._factors.deviations)
        return initial_state(
            self.optimizer, {"params": params}, hyperparameters, ema=bool(self.ema)
        )

    def step(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Mean]]:
        """Takes one step of descent on the mean loss of the batch's tokens."""
        loss = partial(self.loss, state["hyperparameters"])
        gradients, _, sums = gradients_of(loss, state["params"], {}, batch, key, self.accumulate)
        multipliers = self._factors and self._factors.updates
        state, norms = descend_measured(self.optimizer, self.steps, state, gradients, multipliers)
        return state, sums | norms

    def loss(
        self,
        hyperparameters: Mapping[str, Float[Array, ""]],
        params: PyTree,
        carried: PyTree,
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Computes the loss of a training batch as total and count of tokens, and its metrics."""
        found, norms = self._predictions(hyperparameters, params, batch, key)
        scored = scored_of(batch)
        metrics = {
            "loss": mean_over(found.losses, scored),
            "accuracy": mean_over(found.hits.astype(jnp.float32), scored),
            "largest_logit": spikes.largest(found.largest),
            **norms,
        }
        return Mean(found.total, jnp.sum(scored, dtype=jnp.int32)), carried, metrics

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes each example's loss."""

        def of_part(params, carried, part, part_key):
            found, _ = self._predictions(state["hyperparameters"], params, part, part_key)
            return jnp.sum(jnp.where(scored_of(part), found.losses, 0), axis=1), carried

        def compute(params: PyTree) -> Float[Array, " batch"]:
            totals = losses_in_parts(of_part, params, {}, batch, key, self.accumulate)
            # Scaled so that their mean is the loss of the batch.
            count = jnp.maximum(jnp.sum(scored_of(batch)), 1)
            return totals * (len(totals) / count)

        return state["params"], compute

    def _predictions(
        self, hyperparameters: Mapping[str, Any], params: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> tuple[HeadLosses, dict[str, Mean]]:
        """Computes the losses of a training batch, and the norms of activations."""
        options: dict[str, Any] = {"train": True, "mutable": ["intermediates"]}
        if self.dropout:
            options |= {"dropout_rate": hyperparameters["dropout"], "rngs": {"dropout": key}}
        z_loss = hyperparameters["z_loss"] if self.z_loss else 0.0
        (hidden, kernel), captured = self._hidden(params, batch, **options)
        # One number per block, of the same pass.
        norms = captured.get("intermediates", {}).get("activation_norm", [()])[0]
        named = {_norm_of(index): mean_over(norm) for index, norm in enumerate(norms)}
        return self._losses(hidden, kernel, batch, scored_of(batch), z_loss), named

    def _hidden(self, params: PyTree, batch: Batch, **options: Any) -> Any:
        """Computes the input of the head and its kernel, and what is asked for as mutable."""
        if "document" in batch:
            options["documents"] = batch["document"][:, :-1]
        tokens = batch["tokens"][:, :-1]
        return self.network.apply({"params": params}, tokens, method="hidden_and_head", **options)

    def _losses(
        self,
        hidden: Float[Array, "batch length width"],
        kernel: Float[Array, "width vocabulary"],
        batch: Batch,
        scored: Bool[Array, "batch length"],
        z_loss: Float[Array, ""] | float = 0.0,
    ) -> HeadLosses:
        return head_cross_entropy(
            hidden,
            kernel,
            batch["tokens"][:, 1:],
            scored.astype(jnp.float32),
            logit_cap=getattr(self.model, "logit_cap", 0.0),
            tied=getattr(self.model, "tied", False),
            z_loss=z_loss,
        )

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> TokenSums:
        """Sums over the scored tokens of the valid examples of a batch."""
        scored = scored_of(batch) & batch["valid"][:, None]
        hidden, kernel = self._hidden(learned_of(state)["params"], batch)
        found = self._losses(hidden, kernel, batch, scored)
        return TokenSums(
            mean_over(found.losses, scored), mean_over(found.hits.astype(jnp.float32), scored)
        )

    def predict(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> dict[str, Float[Array, " batch"]]:
        """Computes the "nats" of each example's scored tokens, which it sums."""
        scored = scored_of(batch)
        hidden, kernel = self._hidden(learned_of(state)["params"], batch)
        found = self._losses(hidden, kernel, batch, scored)
        return {"nats": jnp.sum(jnp.where(scored, found.losses, 0), axis=1)}

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

    @staticmethod
    def summarize(sums: TokenSums | Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation or of training steps."""
        named = sums._asdict() if isinstance(sums, TokenSums) else sums
        return {name: mean.value() for name, mean in named.items()}


def scored_of(batch: Batch) -> Bool[Array, "batch length"]:
    """Returns which predictions of a batch count: those that "scored" marks, or all."""
    tokens: Int[Array, "batch more"] = batch["tokens"]
    return batch.get("scored", jnp.ones((len(tokens), tokens.shape[1] - 1), bool))


def keys_of_rows(key: Key[Array, ""], count: int) -> Key[Array, " count"]:
    """Makes the key of each text, folded from its row."""
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))
