"""Orbax checkpoints: written while training goes on, whole or not at all; last and best kept."""

import logging
from pathlib import Path

import jax

from jaxmodels.errors import InputError
from jaxmodels.protocol import PyTree


class Checkpoints:
    """The checkpoints of one run folder.

    write: whether to save, and to remove what a kill left half saved; only for training.
    """

    def __init__(self, folder: Path, write: bool = False):
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs a page for each save
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers

        def score(metrics):
            return metrics["score"]

        self._args = ocp.args
        self._folder = folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                create=write,
                cleanup_tmp_directories=write,
                read_only=not write,
                best_fn=score,
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [
                        checkpoint_managers.LatestN(1),
                        checkpoint_managers.BestN(
                            get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False
                        ),
                    ]
                ),
            ),
        )

    def last(self) -> int | None:
        """Returns the step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Returns the step of the best checkpoint; where none has a score, of the last."""
        best = self._manager.best_step()
        return self.last() if best is None else best

    def save(self, step: int, tree: PyTree, score: float | None = None) -> None:
        """Starts to save; the tree may be donated when this returns.

        score: the validation score, given only where it is the best so far.
        """
        metrics = None if score is None else {"score": score}
        self._manager.save(step, args=self._args.StandardSave(tree), metrics=metrics)

    def restore(self, step: int, like: PyTree) -> PyTree:
        """Reads the tree saved at a step, with the shapes, types and shardings of `like`.

        Raises:
          InputError: it was saved from another structure, by other code.
        """
        try:
            return self._manager.restore(step, args=self._args.StandardRestore(like))
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            first = str(error).strip().splitlines()[0][:200]
            raise InputError(
                f"checkpoint {self._folder / str(step)} does not fit this code: {first};"
                " check out the code that wrote it, or --overwrite to start anew"
            ) from error

    def close(self) -> None:
        """Waits until saving is complete."""
        self._manager.close()


def abstract(tree: PyTree, sharding: jax.sharding.Sharding) -> PyTree:
    """Returns the shapes and types of a tree, each with this sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )
