"""Data without their examples: what a run has kept of them, which is enough to predict, to sample
and to export. The package of each kind of data makes its own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxmodels.data.dataset import TRAIN, ColumnSpec, DataFacts
from jaxmodels.errors import InputError
from jaxmodels.order import Order
from jaxmodels.protocol import Batch, BatchSpec, Metadata


class AbsentExamples:
    """A source (see `jaxmodels.protocol.Source`) whose number and shapes of examples are known.

    Raises:
      InputError: an example is read.
    """

    arrays: Mapping[str, np.ndarray] = {}
    bytes_sent = 1

    def __init__(self, name: str, size: int, spec: ColumnSpec):
        self._name, self.size, self._spec = name, size, spec

    def spec(self, batch_size: int) -> BatchSpec:
        """Returns the shapes and types of a batch."""
        return {
            name: jax.ShapeDtypeStruct((batch_size, *like.shape), like.dtype)
            for name, like in self._spec.items()
        }

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Refuses."""
        raise self._refusal()

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """Refuses."""
        raise self._refusal()

    def _refusal(self) -> InputError:
        return InputError(
            f"the examples of data '{self._name}' are asked for, and the run was opened without"
            " them: expected load_run(RUN, data=DATA), with what it was trained on or its path"
        )

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """Returns what was sent."""
        return dict(sent)


@dataclass(frozen=True, kw_only=True, eq=False)
class Absent:
    """What all data without their examples have in common; a base before the class of the data."""

    kept: Metadata

    @property
    def sizes(self) -> dict[str, int]:
        """The number of examples of each split."""
        return dict(self.kept.sizes)

    def source(self, split: str, *_: Any, **__: Any) -> AbsentExamples:
        """Makes the source of a split."""
        name = self.kept.facts["data"]["name"]
        return AbsentExamples(name, self.kept.sizes[split], self.kept.specs[split])

    def training(self) -> AbsentExamples:
        """Makes the source of training batches."""
        return self.source(TRAIN)

    def facts(self) -> DataFacts:
        """Returns what identifies the data, as the run has recorded it."""
        return DataFacts(self.kept.facts["data"])

    def summary(self) -> str:
        """Says nothing, as nothing is learned."""
        return ""


def kept_identity(kept: Metadata, *names: str) -> dict[str, Any]:
    """Returns the metadata, and those facts of the data that have these names, as arguments."""
    return {"kept": kept, **{name: kept.facts["data"][name] for name in names}}


NAMED = ("name", "version", "fingerprint")  # what identifies most data
