"""From one sequence to another: cross-entropy of each token of a target given those before it and
the source, and targets that are written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from jaxmodels import decoding
from jaxmodels.objectives import spikes
from jaxmodels.objectives.bucketed import Bucket, in_bucket, switch
from jaxmodels.objectives.descent import (
    descend_measured,
    initial_state,
    learned_of,
    of_trained,
    with_learned,
)
from jaxmodels.objectives.gradients import gradients_of, losses_in_parts
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.token_prediction import TokenSums
from jaxmodels.ops import HeadLosses, head_cross_entropy
from jaxmodels.ops.label_smoothing import smoothing_difference
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

PADDING = -1  # a token that is not there
_FEW = 8  # sources whose targets are searched for again at once

SCORES = MappingProxyType(
    {
        "loss": Score("lower", "nats", "Mean cross-entropy of a token of the target."),
        "accuracy": Score(
            "higher", "", "Share of the target's tokens that are likeliest after those before."
        ),
        **spikes.SCORES,
    }
)


@dataclass(frozen=True)
class SequenceToSequence:
    """An objective of batches {"source": Int[batch, length], "target": Int[batch, length]}, filled
    up with -1 behind the ends. A target begins with the start token, and all others are predicted.

    Batches of training may be of one of several shapes: "source" and "target" [row, pair, length],
    and "bucket" in every row the number of the shape, whose pairs are cut out of each row (see
    `data.buckets.Bucketed`). Evaluations take the smallest shape that their pairs fit. The
    program of each shape is compiled once. A pair's padding changes nothing.

    model: has the methods hidden_and_head, encode and step_of of
      `models.encoder_decoder.EncoderDecoder`.
    steps: the length of the run, over which the learning rate may be laid out.
    start, end: tokens before and after a target.
    most: how many tokens are written for a target at most, the end included.
    buckets: the shapes ((length of source, length of target), pairs in a row), the smallest first;
      none: that of the columns.
    label_smoothing: share of the target that all tokens have in what is minimised; the score `loss`
      is without it. Like dropout and ema it enters the state, and zero leaves it out of the
      program.
    accumulate: the number of parts of a batch, which are computed one after another.
    beams, length_penalty, stop: of the search for targets (`decoding.search`); 1 beam is greedy.
    """

    model: Any
    optimizer: OptimizerConfig
    steps: int
    start: int
    end: int
    most: int
    buckets: Sequence[Bucket] = ()
    label_smoothing: float = 0.0
    dropout: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    beams: int = 1
    length_penalty: float = 1.0
    stop: str = "likely"

    scores = SCORES

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        names = ("label_smoothing", "dropout", "ema")
        own = {name: getattr(self, name) for name in names}
        return {**self.optimizer.hyperparameters(), **own}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step."""
        tokens = jnp.zeros((1, 1), jnp.int32)
        learned = {"params": self.model.init(key, tokens, tokens)["params"]}
        return initial_state(self.optimizer, learned, hyperparameters, bool(self.ema), key)

    @staticmethod
    def learned(state: State) -> dict[str, PyTree]:
        """Returns the parameters that evaluation uses."""
        return learned_of(state)

    with_learned = staticmethod(with_learned)

    def step(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Mean]]:
        """Takes one step of descent on the mean loss of the batch's tokens."""
        loss = of_trained(partial(self.loss, state["hyperparameters"]), state)

        def differentiated(batch):
            return gradients_of(loss, state["params"], {}, batch, key, self.accumulate)

        gradients, _, sums = self._by_bucket(differentiated, batch)
        state, norms = descend_measured(self.optimizer, self.steps, state, gradients)
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
        found, smoothing, scored = self._trained_on(hyperparameters, params, batch, key)
        metrics = {
            "loss": mean_over(found.losses, scored),
            "accuracy": mean_over(found.hits.astype(jnp.float32), scored),
            "largest_logit": spikes.largest(jnp.where(scored, found.largest, 0)),
        }
        total = found.total + smoothing
        return Mean(total, jnp.sum(scored, dtype=jnp.int32)), carried, metrics

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes the loss of each row of
        the batch, without label smoothing."""

        def of_part(params, carried, part, part_key):
            found, _, scored = self._trained_on(state["hyperparameters"], params, part, part_key)
            return jnp.sum(jnp.where(scored, found.losses, 0), axis=1), carried

        def compute(params: PyTree) -> Float[Array, " batch"]:
            def of_bucket(part):
                function = of_trained(of_part, state)
                totals = losses_in_parts(function, params, {}, part, key, self.accumulate)
                count = jnp.sum(_scored(part["target"]), dtype=jnp.float32)
                totals = jnp.sum(totals.reshape(len(batch["source"]), -1), axis=1)
                # Scaled so that their mean is the loss of the batch.
                return totals * (len(totals) / jnp.maximum(count, 1))

            return self._by_bucket(of_bucket, batch)

        return state["params"], compute

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> TokenSums:
        """Sums over the tokens of the targets of the valid examples of a batch."""

        def summed(part):
            scored = _scored(part["target"]) & batch["valid"][:, None]
            hidden, kernel = self._hidden(learned_of(state)["params"], part)
            found = self._losses(hidden, kernel, part, scored)
            hits = found.hits.astype(jnp.float32)
            return TokenSums(mean_over(found.losses, scored), mean_over(hits, scored))

        return self._by_length(summed, batch)

    def translate(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> dict[str, Shaped[Array, "batch ..."]]:
        """Writes a target for each source: the "tokens" behind the start token, Int[batch, most],
        which end with the end token and are filled up with it, and the "score" (see
        `decoding.Found`)."""
        params, given = learned_of(state)["params"], {"source": batch["source"]}

        def written(part, room):
            found = decoding.search(
                *self.begun(params, part["source"]),
                beams=self.beams,
                most=room,
                end=self.end,
                length_penalty=self.length_penalty,
                stop=self.stop,
                rules=[decoding.without(self.never_written)] if self.never_written else (),
            )
            rest = ((0, 0), (0, self.most - room))
            tokens = jnp.pad(found.tokens[:, 0, 1:], rest, constant_values=self.end)
            outputs = {"tokens": tokens, "score": found.score[:, 0]}
            return outputs, found.complete if room < self.most else jnp.ones_like(found.complete)

        found, is_done = self._by_length(lambda part: written(part, part["room"]), given)
        if all(self._room(target) == self.most for (_, target), _ in self.buckets):
            return found
        # A search with room for the longest target would be slow for all others.
        return _completed(lambda part: written(part, self.most)[0], given, found, is_done)

    @property
    def never_written(self) -> tuple[int, ...]:
        """The start token, which is padding in published models, unless it ends a target too."""
        return () if self.start == self.end else (self.start,)

    def begun(
        self, params: PyTree, source: Int[Array, "batch source"]
    ) -> tuple[decoding.Step, Int[Array, "batch 1"]]:
        """Reads sources; returns the step that writes their targets, and how these begin."""
        memory = self.model.apply({"params": params}, source, source != PADDING, method="encode")
        begin = jnp.full((source.shape[0], 1), self.start, jnp.int32)
        return self.model.step_of(params, memory), begin

    def attend(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, "batch layers heads target source"]:
        """Computes how each place of the targets attends to the sources; a model without such
        weights has no method cross_weights."""
        source = batch["source"]
        weights = partial(self.model.apply, {"params": learned_of(state)["params"]})
        return weights(source, batch["target"], source != PADDING, method="cross_weights")

    @staticmethod
    def summarize(sums: TokenSums | Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation or of training steps."""
        named = sums._asdict() if isinstance(sums, TokenSums) else sums
        return {name: mean.value() for name, mean in named.items()}

    def _trained_on(
        self, hyperparameters: Mapping[str, Any], params: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> tuple[HeadLosses, Float[Array, ""], Bool[Array, "batch length"]]:
        """Computes the losses of a training batch, what smoothing adds to their sum, and which of
        them count."""
        options: dict[str, Any] = {"train": True}
        if self.dropout:
            options |= {"dropout_rate": hyperparameters["dropout"], "rngs": {"dropout": key}}
        hidden, kernel = self._hidden(params, batch, **options)
        scored = _scored(batch["target"])
        found, added = self._losses(hidden, kernel, batch, scored), jnp.float32(0)
        if self.label_smoothing:
            weights = scored.astype(jnp.float32)
            added = smoothing_difference(hidden, kernel, batch["target"][:, 1:], weights)
            added = hyperparameters["label_smoothing"] * added
        return found, added, scored

    def _hidden(self, params: PyTree, batch: Batch, **options: Any) -> Any:
        """Computes the input of the head and its kernel."""
        source, target = batch["source"], batch["target"]
        apply = partial(self.model.apply, {"params": params}, method="hidden_and_head")
        return apply(source, target[:, :-1], valid=source != PADDING, **options)

    def _losses(
        self,
        hidden: Float[Array, "batch length width"],
        kernel: Float[Array, "width vocabulary"],
        batch: Batch,
        scored: Bool[Array, "batch length"],
    ) -> HeadLosses:
        targets = jnp.where(scored, batch["target"][:, 1:], 0)
        return head_cross_entropy(
            hidden,
            kernel,
            targets,
            scored.astype(jnp.float32),
            tied=self.model.tied not in (False, "none"),
        )

    def _by_bucket(self, function: Callable[[Batch], PyTree], batch: Batch) -> PyTree:
        """Applies a function to the pairs of a training batch in their shape."""
        return in_bucket(function, batch, self.buckets, {"source": 0, "target": 1})

    def _by_length(self, function: Callable[[dict], PyTree], batch: Batch) -> PyTree:
        """Applies a function to a batch that is cut to the smallest shape that all of it fits, with
        the "room" that most targets of such sources need. The last shape is that of the batch."""
        sides = [name for name in ("source", "target") if name in batch]
        shapes = [{"source": s, "target": t} for (s, t), _ in self.buckets[:-1]]
        longest = {name: _longest(batch[name]) for name in sides}

        def cut(shape):
            return {
                name: column[:, : shape[name]] if name in shape else column
                for name, column in batch.items()
            } | {"room": self._room(shape.get("target"))}

        is_longer = [
            jnp.any(jnp.stack([longest[name] > shape[name] for name in sides])) for shape in shapes
        ]
        number = sum(is_longer, start=jnp.int32(0))
        branches = [partial(lambda shape, _: function(cut(shape)), s) for s in (*shapes, {})]
        return switch(number, branches)

    def _room(self, target: int | None) -> int:
        """Chooses for how many tokens a search in a shape has room at first; None: the last shape.
        A search that is exact depends on the most tokens that there may be."""
        if not self.buckets or self.stop == "exact":
            return self.most
        return min(self.most, 2 * (target or self.buckets[-1][0][1]))


def _completed(
    function: Callable[[Batch], PyTree], batch: Batch, found: PyTree, is_done: Bool[Array, " batch"]
) -> PyTree:
    """Applies a function to the rows of a batch that are not done, a few at a time, and puts what
    it finds into the place of what was found."""
    few = min(len(is_done), _FEW)

    def more(reached):
        found, is_done = reached
        rows = jnp.argsort(is_done)[:few]
        new = function({name: column[rows] for name, column in batch.items()})

        def put(old, new):
            kept = is_done[rows].reshape(-1, *[1] * (new.ndim - 1))
            return old.at[rows].set(jnp.where(kept, old[rows], new))

        return jax.tree.map(put, found, new), is_done.at[rows].set(True)

    return jax.lax.while_loop(lambda reached: ~jnp.all(reached[1]), more, (found, is_done))[0]


def _scored(target: Int[Array, "batch length"]) -> Bool[Array, "batch less"]:
    """Tells which tokens of targets are predicted: all behind the first."""
    return target[:, 1:] != PADDING


def _longest(tokens: Int[Array, "batch length"]) -> Int[Array, ""]:
    places = jnp.arange(1, tokens.shape[1] + 1)
    return jnp.max(jnp.where(tokens != PADDING, places, 0))
