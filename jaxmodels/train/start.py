"""What a run starts from: the weights of another run, or published ones.

The weights are read once, before step 0. What was taken of them stands in the run's record under
"start", with a fingerprint of their content, which is what tells a run from one with other weights.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.files import read_json
from jaxmodels.pretrained import loading, opening
from jaxmodels.pretrained.names import Published
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Objective, PyTree
from jaxmodels.train.config import Config
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.fitting_weights import Taken, compared, shown
from jaxmodels.train.replaced import RECORD
from jaxmodels.train.run_folder import START
from jaxmodels.train.trained import open_trained

Arrays = Mapping[str, np.ndarray | jax.Array]


class Start(NamedTuple):
    """Weights that fit a model, in whole or in part.

    facts: for the record: the fingerprint of the source, its step, and what was taken.
    read: gives the arrays that fit by their paths in what an objective has learned, as
      "params/head/kernel".
    """

    facts: dict[str, Any]
    read: Callable[[], Arrays]


def is_run(path: Path) -> bool:
    """Whether a path is a run folder of this package, not published weights."""
    record = read_json(path / RECORD) if path.is_dir() else None
    is_published = isinstance(record, dict) and "experiment" not in record
    return path.is_dir() and not is_published and (path / "checkpoints").is_dir()


def source_of(config: Config) -> Path | None:
    """Returns the path that --init-from names; None where it is not given."""
    return None if config.run.init_from is None else Path(config.run.init_from).expanduser()


def with_start(experiment: Experiment, config: Config, record: dict | None) -> Experiment:
    """Returns the experiment with what its run starts from, opened and compared, but not read.

    record: of the run in the folder. Such a run does not need its source any more; where the source
      is still there, it has to be the one that the record names.

    Raises:
      InputError: there is nothing at the path, it cannot be read, or none of it fits.
    """
    path = source_of(config)
    if path is None:
        return experiment
    known = (record or {}).get("facts", {}).get(START)
    if known and not path.exists():
        _require_same_path(path, record or {})
        return experiment._replace(facts={**experiment.facts, START: known})
    opened = open_source(path, config)
    if known and known["fingerprint"] == opened.fingerprint:
        return experiment._replace(facts={**experiment.facts, START: known})
    if known:
        raise InputError(
            f"init_from = {path}: its weights are others than those that the run began with"
            f" ({known['fingerprint']} -> {opened.fingerprint}); name another --workdir, or"
            " --overwrite to start anew"
        )
    start = _start_of(opened, experiment)
    return experiment._replace(facts={**experiment.facts, START: start.facts}, start=start)


def require_all_taken(experiment: Experiment, config: Config) -> None:
    """Raises InputError unless the weights, which are used as they are, fill the whole model."""
    fresh = experiment.start.facts["fresh"] if experiment.start else {}
    if fresh:
        raise InputError(
            f"mode = {config.run.mode}; {', '.join(fresh)} would have random values, which the"
            f" weights in {config.run.init_from} do not have in this shape: train the run first"
        )


def start_again(experiment: Experiment, config: Config, record: dict | None) -> Start | None:
    """Returns what a run starts from, where its first steps are computed anew.

    Raises:
      InputError: the source is gone, or has other weights than then.
    """
    path = source_of(config)
    if path is None or experiment.start:
        return experiment.start
    known = (record or {}).get("facts", {}).get(START)
    opened = open_source(path, config)
    if known and known["fingerprint"] != opened.fingerprint:
        raise InputError(f"init_from = {path}: its weights are others than when the run began")
    return _start_of(opened, experiment, quiet=True)


def _require_same_path(path: Path, record: dict) -> None:
    recorded = Path(str(record["config"].get("init_from"))).expanduser()
    if path.absolute() != recorded.absolute():
        raise InputError(
            f"init_from = {path}; there is nothing, and the run in this workdir began from"
            f" {recorded}: give that path, which need not exist any more"
        )


class Source(NamedTuple):
    """Weights that are opened.

    named: what they are, for people.
    match: compares them with what an objective has learned, and gives what is taken and a function
      that reads it.
    """

    named: str
    fingerprint: str
    facts: dict[str, Any]
    match: Callable[[Experiment, PyTree], tuple[Taken, Callable[[], Arrays]]]


def open_source(path: Path, config: Config) -> Source:
    """Opens a run, or published weights.

    Raises:
      InputError: there is nothing at the path, or nothing that can be read.
    """
    if not path.exists():
        raise InputError(
            f"init_from = {path}; there is nothing: expected a run folder, or published weights"
            " (a folder or file)"
        )
    return _open_run(path, config.run.init_checkpoint) if is_run(path) else _published(path, config)


def _open_run(path: Path, checkpoint: str) -> Source:
    trained = open_trained(path, checkpoint, "init_from")

    def match(experiment: Experiment, like: PyTree):
        state = trained.read()
        state.setdefault("ema", {})
        try:
            learned = _learned(experiment.objective)(state)
        except (KeyError, TypeError, AttributeError):
            learned = {}
        found = {name: np.asarray(leaf) for name, leaf in _named(learned).items()}
        taken = compared({name: leaf.shape for name, leaf in found.items()}, _named(like))
        return taken, lambda: {name: found[name] for name in taken.fitting}

    kind, step = trained.record["experiment"], trained.step
    facts = {"kind": kind, "step": step}
    return Source(f"run of {kind}, step {step:,}", trained.fingerprint, facts, match)


def open_published(path: Path) -> Weights:
    """Opens published weights, of which no array is read.

    Raises:
      InputError: there are none, or they are damaged.
    """
    return opening.open_weights(path)


def _published(path: Path, config: Config) -> Source:
    weights = open_published(path)

    def match(experiment: Experiment, like: PyTree):
        if experiment.published is None:
            raise InputError(
                f"init_from = {path}; no published names are known of this model: expected a run"
                " of ours"
            )
        published: Published = experiment.published(weights)
        found = loading.compare(weights, published, like)
        shapes = _named(like)
        names = {e.name if e.outside else found.prefix + e.name: e for e in published.entries}
        differing = {
            place: tuple(weights[name].shape)
            for name in found.misshapen
            for place in names[name].paths
        }
        present = {p: tuple(shapes[p].shape) for e in found.found.values() for p in e.paths}
        unused = {name: tuple(weights[name].shape) for name in found.unexpected}
        taken = compared(present | differing | unused, shapes, misfits=differing)

        def read() -> Arrays:
            arrays = loading.read_arrays(weights, found, like)
            return {name: arrays[name] for name in taken.fitting}

        return taken, read

    flags = json.loads(json.dumps(dict(config.flags_of_weights(weights))))
    facts = {"kind": "published", "flags": flags}
    return Source("published weights", fingerprint_of(weights), facts, match)


def fingerprint_of(weights: Weights) -> str:
    """Hashes the content of files of weights."""
    digest = hashlib.sha256()
    for file in weights.files or (weights.path,):
        with open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def _start_of(source: Source, experiment: Experiment, quiet: bool = False) -> Start:
    """Compares weights with a model and says what is taken on standard error.

    Raises:
      InputError: nothing fits.
    """
    like = shapes_of(experiment)
    taken, read = source.match(experiment, like)
    if not taken.fitting:
        raise InputError(
            f"init_from: none of the weights ({source.named}) fits the model by path and shape;"
            f" it has {', '.join(list(_named(like))[:3])}, they have"
            f" {', '.join(taken.unused[:3]) or 'none that it could have'}"
        )
    if not quiet:
        print(shown(source.named, taken), file=sys.stderr)
    facts = {"fingerprint": source.fingerprint, **source.facts, **taken.record()}
    return Start(facts, read)


def shapes_of(experiment: Experiment) -> PyTree:
    """Returns the shapes and types of what an experiment's objective learns."""
    objective, spec = experiment.objective, experiment.train.spec(1)
    learned = _learned(objective)
    return jax.eval_shape(
        lambda key: learned(objective.init(key, spec, objective.hyperparameters)),
        jax.random.key(0),
    )


def _learned(objective: Objective) -> Callable[[PyTree], PyTree]:
    if objective.learned is None or objective.with_learned is None:
        raise InputError(
            "init_from: the objective has no functions 'learned' and 'with_learned', so it cannot"
            " start from weights: give it those of jaxmodels.objectives.descent"
        )
    return objective.learned


def _named(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def started(objective: Objective, state: PyTree, given: Mapping[str, Any]) -> PyTree:
    """Puts arrays into what a state at step 0 has learned."""

    def chosen(path: Any, leaf: Any) -> Any:
        new = given.get(jax.tree_util.keystr(path, simple=True, separator="/"))
        return leaf if new is None else new.astype(leaf.dtype)

    learned = jax.tree_util.tree_map_with_path(chosen, _learned(objective)(state))
    assert objective.with_learned
    return objective.with_learned(state, learned)
