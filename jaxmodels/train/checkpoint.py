"""Checkpoints by Orbax: written while training goes on, whole or not at all, checked when read."""

import contextlib
import functools
import gc
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from errno import EACCES, EDQUOT, EIO, ENOSPC, EPERM, EROFS
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxmodels.errors import InputError, RunError
from jaxmodels.files import read_json
from jaxmodels.protocol import PyTree
from jaxmodels.run_record import is_number, read_facts, seal_facts
from jaxmodels.train.digest import digests_by_name, names_of_leaves

_FULL_OR_FORBIDDEN = (ENOSPC, EDQUOT, EACCES, EPERM, EROFS, EIO)


class Facts(NamedTuple):
    """What a checkpoint says of the run at its step."""

    lines: int  # of metrics.jsonl
    lines_hash: str  # SHA-256 of these lines
    found_hash: str = ""  # of evaluation.json; "": there is none
    skipped: int = 0  # batches that were left out after a divergence
    evaluated: bool = True  # False: an evaluation that was due failed
    score: float | None = None  # of validation, where it is the best so far; larger is better


class Restored(NamedTuple):
    """What a checkpoint holds."""

    step: int
    tree: PyTree
    facts: Facts | None  # None: it was written by a version that kept none


class DamagedCheckpoint(InputError):
    """A checkpoint whose bytes are not those that were written."""


class Checkpoints:
    """The checkpoints of one run folder.

    write: checkpoints may be saved, and what a kill left half saved is cleared away; only the
      process that trains may do so.
    keep: how many of the newest are kept, beside the best one.

    Raises:
      DamagedCheckpoint: Orbax's own files about one have values of wrong types.
    """

    def __init__(self, folder: Path, write: bool = False, keep: int = 2):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # pages of notes for each save
        import orbax.checkpoint as ocp

        self._failure: RunError | None = None
        if write:
            _hide_late_reports()
        self._args = ocp.args
        self._folder, self._keep = folder, keep
        options = ocp.CheckpointManagerOptions(
            create=write,
            cleanup_tmp_directories=write,
            read_only=not write,
            preservation_policy=self,
        )
        try:
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        except (ValueError, TypeError, AttributeError) as error:
            raise DamagedCheckpoint(
                f"a file _CHECKPOINT_METADATA in {folder} is damaged: {_first_line(error)}; delete"
                " the checkpoint with it, and the run goes on from the one before"
            ) from None
        self._scores = {step: self._score_of(step) for step in self._manager.all_steps()}

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Tells the library which checkpoints to keep: the newest ones, and the best."""
        newest = {info.step for info in checkpoints[-self._keep :]}
        return [info.step in newest or info.step == self.best() for info in checkpoints]

    def last(self) -> int | None:
        """Returns the step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Returns the steps of all complete checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def best(self) -> int | None:
        """Returns the step of the best checkpoint; where none has a score, of the last."""
        scores = [
            (score, step) for step in self.steps() if (score := self._scores.get(step)) is not None
        ]
        # Of equal scores the last one counts.
        return max(scores, default=(None, self.last()))[1]

    def save(self, step: int, tree: PyTree, facts: Facts) -> None:
        """Starts to save, in place of an earlier checkpoint of this step. The tree may be donated
        when this returns."""
        self._scores[step] = facts.score
        types, digests = _types_by_name(tree), digests_by_name(tree)
        arrays = {name: {"type": types[name], "digest": digests[name]} for name in types}
        with self._writing():
            if step in self._manager.all_steps():
                self._manager.delete(step)
            self._manager.save(
                step,
                args=self._args.StandardSave(tree),
                custom_metadata=seal_facts({**facts._asdict(), "arrays": arrays}),
            )

    def facts(self, step: int) -> Facts | None:
        """Returns what the checkpoint of a step says of the run; None: it was written by a version
        that kept no facts, or they are damaged."""
        with contextlib.suppress(DamagedCheckpoint):
            kept = self._kept(step)
            return None if kept is None else _facts_of(kept)
        return None

    def restore(self, step: int, like: PyTree) -> Restored:
        """Reads the tree saved at a step, with the shapes, types and shardings of `like`.

        Raises:
          DamagedCheckpoint: its bytes are not those that were written.
          InputError: it was saved from another structure, by other code.
        """
        kept = self._kept(step)
        if kept is None:
            return Restored(step, self._restore_unchecked(step, like), None)
        saved, wanted = kept["arrays"], _types_by_name(like)
        for name in sorted(saved.keys() | wanted.keys()):
            there, here = saved.get(name, {}).get("type"), wanted.get(name)
            if there and here and there != here and _without_width(there) == _without_width(here):
                raise InputError(
                    f"checkpoint {self._folder / str(step)} has other types than this process:"
                    f" array {name} is {there} there and {here} here; set JAX_ENABLE_X64 as it was"
                    " when the run began"
                )
            if there != here:
                raise self._misfit(step, f"array {name} is {there} there and {here} here")
        tree = self._restore_checked(step, self._args.StandardRestore(like))
        found = digests_by_name(tree)
        for name, array in saved.items():
            if found[name] != array["digest"]:
                raise self._damage(step, f"array {name} is not what was written")
        return Restored(step, tree, _facts_of(kept))

    def require_whole(self, step: int) -> int:
        """Compares every array of a checkpoint, whatever its structure, with its checksum; returns
        how many there are. 0: it was written by a version that kept no checksums.

        Raises:
          DamagedCheckpoint: its bytes are not those that were written.
        """
        return len(self._read_whole(step)[1])

    def read(self, step: int) -> dict[str, Any]:
        """Reads the tree saved at a step, whatever its structure, as nested dicts and lists.

        Raises:
          DamagedCheckpoint: its bytes are not those that were written.
        """
        return self._read_whole(step)[0]

    def _read_whole(self, step: int) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint and compares it with its checksums; gives those too."""
        kept = self._kept(step)
        one_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        arguments = self._args.StandardRestore(fallback_sharding=one_device)
        with jax.enable_x64(True):  # else jax would narrow what has 64 bits
            tree = self._restore_checked(step, arguments)
            found = digests_by_name(tree)
        arrays = kept["arrays"] if kept else {}
        wrong = [name for name in arrays if found.get(name) != arrays[name]["digest"]]
        if wrong:
            more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
            names = ", ".join(wrong[:4]) + more
            raise self._damage(step, f"{len(wrong)} arrays are not what was written: {names}")
        return tree, arrays

    def digests(self, step: int) -> dict[str, str]:
        """Reads the checksums of a checkpoint's arrays by name; {}: it kept none, or is damaged."""
        with contextlib.suppress(DamagedCheckpoint):
            kept = self._kept(step) or {"arrays": {}}
            return {name: array["digest"] for name, array in kept["arrays"].items()}
        return {}

    def restore_newest(self, like: PyTree) -> Restored | None:
        """Reads the newest checkpoint that is whole; None where there is none at all. A note on
        standard error says which newer ones are damaged.

        Raises:
          DamagedCheckpoint: all are.
          InputError: the newest was saved by other code.
        """
        steps, damage = self.steps(), None
        for step in reversed(steps):
            try:
                restored = self.restore(step, like)
            except DamagedCheckpoint as error:
                damage = damage or error
                continue
            if damage:
                repeated = steps[-1] - step
                print(
                    f"note: {damage}; went back to that of step {step}: {repeated} steps are"
                    " repeated",
                    file=sys.stderr,
                )
            return restored
        if damage:
            raise DamagedCheckpoint(f"{damage}, and so are those before; --overwrite starts anew")
        return None

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints after a step, such as damaged ones."""
        with self._writing():
            for later in self.steps():
                if later > step:
                    self._manager.delete(later)

    def wait(self) -> None:
        """Waits for what is being saved."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for what is being saved, and ends."""
        with self._writing():
            self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what the library raises when it cannot write into one line."""
        if self._failure:
            raise self._failure
        with _quiet():
            try:
                yield
            except Exception as error:
                if jax.process_count() > 1 and isinstance(error, jax.errors.JaxRuntimeError):
                    raise  # not the disk's fault: another process is gone
                # It is kept and raised from now on, because Orbax's threads raise only once.
                self._failure = RunError(
                    f"checkpoints in {self._folder} cannot be written: {_cause(error)}; those that"
                    " were complete are kept, and the same command goes on from them"
                )
            if self._failure:
                # The library's coroutines can be collected only here, where the traceback that
                # held them is gone.
                gc.collect()
                raise self._failure

    def _kept(self, step: int) -> dict[str, Any] | None:
        """Reads the facts and the checksums that were saved with a checkpoint."""
        try:
            return read_facts(self._folder / str(step))
        except InputError as error:
            raise self._damage(step, str(error)) from None

    def _restore_checked(self, step: int, arguments: Any) -> PyTree:
        """Restores a checkpoint that has checksums; any failure then means damage."""
        try:
            with _quiet():
                return self._manager.restore(step, args=arguments)
        except MemoryError:
            raise
        except Exception as error:
            # Orbax and TensorStore raise many types for files that are cut, gone or changed.
            raise self._damage(step, _first_line(error)) from None

    def _score_of(self, step: int) -> float | None:
        facts = self.facts(step)
        if facts is not None:
            return facts.score
        # Versions that kept no facts let the library write the score.
        metrics = read_json(self._folder / str(step) / "metrics" / "metrics")
        score = metrics.get("score") if isinstance(metrics, dict) else None
        return score if is_number(score) else None

    def _restore_unchecked(self, step: int, like: PyTree) -> PyTree:
        try:
            with _quiet():
                return self._manager.restore(step, args=self._args.StandardRestore(like))
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise self._misfit(step, _first_line(error)) from None

    def _misfit(self, step: int, reason: str) -> InputError:
        return InputError(
            f"checkpoint {self._folder / str(step)} does not fit this code: {reason[:200]};"
            " check out the code that wrote it, or --overwrite to start anew"
        )

    def _damage(self, step: int, reason: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(f"checkpoint {self._folder / str(step)} is damaged: {reason}")


def abstract(tree: PyTree, sharding: jax.sharding.Sharding) -> PyTree:
    """Returns the shapes and types of a tree, each with this sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _types_by_name(tree: PyTree) -> dict[str, str]:
    """Returns type and shape of every leaf by its name, as "float32[3, 4]"."""
    types = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree)]
    return dict(zip(names_of_leaves(tree), types, strict=True))


def _without_width(kind: str) -> str:
    """Returns a type without its bits, as "float[3]" of "float32[3]"."""
    return re.sub(r"^([a-z]+)\d+", r"\1", kind)


def _facts_of(kept: dict[str, Any]) -> Facts:
    return Facts(**{name: kept[name] for name in Facts._fields if name in kept})


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _cause(error: Exception) -> str:
    """Finds what the system said, which libraries wrap into pages of their own."""
    said = re.search("|".join(map(os.strerror, _FULL_OR_FORBIDDEN)), str(error))
    if said:
        return said.group()
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else _first_line(error)


@functools.cache
def _hide_late_reports() -> None:
    """Keeps TensorStore from printing a page for each array of a save that failed. It reports them
    at any time until the program ends, to an event loop that Orbax has closed by then. Python's
    warnings about writes that Orbax had not begun are hidden too."""
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    shown = sys.unraisablehook

    def show(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            shown(unraisable)

    sys.unraisablehook = show


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the library from printing pages about coroutines that a failed restore leaves."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
            except Exception:
                gc.collect()
                raise
    finally:
        sys.unraisablehook = hook
