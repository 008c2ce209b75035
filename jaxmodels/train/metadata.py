"""The file data.json of a run: what it keeps of its data, for what reads none of their examples."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.files import read_json, write_json
from jaxmodels.protocol import BatchSpec, Metadata, Source
from jaxmodels.run_record import is_shallow, is_step, seal_record
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.hosts import by_first
from jaxmodels.train.run_folder import RunFolder

FILE = "data.json"
FORMAT = 1


@by_first
def write_metadata(folder: RunFolder, experiment: Experiment) -> None:
    """Writes what an experiment keeps of its data, if it keeps something. The record is there."""
    if experiment.metadata is None:
        return
    record = folder.record()
    assert record is not None, "the record comes first"
    sources = {"train": experiment.train, **experiment.evaluation}
    content = {
        "format": FORMAT,
        "facts": _digest(record["facts"]),
        "splits": {split: _described(source) for split, source in sources.items()},
        "values": experiment.metadata,
    }
    sealed = seal_record(json.loads(json.dumps(content)))
    path = folder.path / FILE
    if read_json(path) != sealed:
        write_json(path, sealed)


def read_metadata(folder: RunFolder, record: Mapping[str, Any]) -> Metadata | None:
    """Reads what a run keeps of its data; None where an older version has kept nothing.

    Raises:
      InputError: it is damaged, of another run, or written by a newer version.
    """
    path = folder.path / FILE
    if not path.exists():
        return None
    content = read_json(path)
    problem = _problem(content, record)
    if problem:
        raise InputError(
            f"{path} is not what the run has kept of its data: {problem}; bring the old one back,"
            " or delete it where the data are, which are then read"
        )
    splits = content["splits"]
    return Metadata(
        facts=record["facts"],
        sizes={split: found["size"] for split, found in splits.items()},
        specs={split: _spec(found["columns"]) for split, found in splits.items()},
        values=content["values"],
    )


def _described(source: Source) -> dict[str, Any]:
    columns = {
        name: {"shape": like.shape[1:], "dtype": np.dtype(like.dtype).name}
        for name, like in source.spec(1).items()
    }
    return {"size": source.size, "columns": columns}


def _spec(columns: Mapping[str, Any]) -> BatchSpec:
    return {
        name: jax.ShapeDtypeStruct(tuple(like["shape"]), np.dtype(like["dtype"]))
        for name, like in columns.items()
    }


def _problem(content: Any, record: Mapping[str, Any]) -> str | None:
    """Says what is wrong with the content of the file; None for a good one."""
    if not isinstance(content, dict) or not is_shallow(content):
        return "it cannot be read, or holds no object of JSON"
    if is_step(content.get("format")) and content["format"] > FORMAT:
        return f"its format is {content['format']}; this version reads up to {FORMAT}"
    if content != seal_record(content):
        return "it was changed since it was written"
    if content.get("facts") != _digest(record["facts"]):
        return "it is of another run"
    return None


def _digest(facts: Mapping[str, Any]) -> str:
    """Computes what tells the data of runs apart."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
