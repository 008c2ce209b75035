"""Data sets of tensorflow-datasets, read without TensorFlow."""

import contextlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.dataset import SPLITS, TRAIN, BadRecord, Dataset, Record
from jaxmodels.data.kinds import kind_of_embedded, readers_of
from jaxmodels.data.shards import fingerprint_of_shards, older_fingerprint, require_shards
from jaxmodels.data.tfds_kinds import kind_of_prepared, kinds_of, near, other_kind
from jaxmodels.errors import InputError, Stopped, closest

# The list of a tf.train.Feature that holds values of a numpy type, by the kind of the type.
_LISTS = {"O": "bytes_list", "f": "float_list", "i": "int64_list", "u": "int64_list"}
_LISTS |= {"b": "int64_list"}


class _Value(NamedTuple):
    """The place of a column in a tf.train.Example."""

    feature: str
    kind: str  # which of the feature's lists
    shape: tuple[int, ...]  # -1: any length; (): the value itself
    dtype: np.dtype


class TfdsRecords:
    """`Records` of one split in ArrayRecord files.

    They are parsed here, because tfds's own parser takes far longer than reading and decoding a
    small image.

    columns: the feature of each column, as the files call it ("objects/bbox" where it is nested).
      A feature of shape () is read as bytes or a number, any other as an array.
    """

    def __init__(self, builder, split: str, columns: Mapping[str, str]):
        features = _stored_features(builder)
        self._columns = [(name, _value(feature, features)) for name, feature in columns.items()]
        self._split, self._folder = split, str(builder.data_path)
        # Pickling it leaves the open files out.
        self._source = builder.as_data_source(split).data_source

    def __len__(self) -> int:
        return len(self._source)

    def key(self, row: int) -> str:
        """Returns SPLIT/ROW."""
        return f"{self._split}/{row}"

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads and parses these records."""
        if not len(rows):
            return []
        try:
            records = self._source.__getitems__(rows)
        except RuntimeError as error:
            # The facts of a run quote the reason, so it must not depend on where the files lie.
            reason = str(error).splitlines()[0].replace(f"{self._folder}/", "")
            raise BadRecord(f"cannot be read: {reason}", "unreadable") from None
        from tensorflow_datasets.proto.tf_example_generated_pb2 import Example  # pyright: ignore

        return [self._parsed(record, Example) for record in records]

    def _parsed(self, record: bytes, message) -> Record:
        from google.protobuf.message import DecodeError

        try:
            features = message.FromString(record).features.feature
        except DecodeError:
            raise BadRecord("is no tf.train.Example", "unreadable") from None
        columns = {}
        for name, (feature, kind, shape, dtype) in self._columns:
            values = getattr(features[feature], kind).value
            if shape:
                columns[name] = _as_array(feature, values, shape, dtype)
                continue
            if len(values) != 1:
                raise BadRecord(
                    f"has {len(values)} values of '{feature}'; expected 1", "unreadable"
                )
            columns[name] = values[0]
        return columns


def tfds_dataset(
    name: str,
    builder,
    columns: Mapping[str, str],
    facts: Mapping[str, Any] = MappingProxyType({}),
    splits: Sequence[str] = SPLITS,
) -> Dataset:
    """Makes the data set of a builder (see `prepared_builder`), with these features as columns.

    facts: those of the Dataset. splits: those to read, where they exist.

    Raises:
      InputError: no training split, no such feature, or a shard that is missing or cut.
    """
    found = builder.info.splits
    there = [split for split in splits if split in found and found[split].num_examples]
    if TRAIN not in there:
        raise InputError(
            f"data '{name}' has no training split; expected 'train'."
            f" Found: {', '.join(found) or 'none'}"
        )
    require_shards(name, builder, there)
    records = {split: TfdsRecords(builder, split, columns) for split in there}
    names = {column: _class_names(builder, feature) for column, feature in columns.items()}
    names = {column: found for column, found in names.items() if found}
    return Dataset(
        name,
        str(builder.info.version),
        fingerprint_of_shards(name, builder, there),
        records,
        names,
        facts,
        older_fingerprint(Path(builder.data_path)),
    )


def prepared_builder(
    name: str, data_dir: str | Path | None, kind: str, expected: str, embedded: Sequence[str] = ()
):
    """Finds the tfds builder of a data set that is prepared as ArrayRecord.

    data_dir: the folder of tfds; None: tfds's own default.
    kind: the word for suitable data sets, in errors. expected: which features these have.
    embedded: names of data sets that need no tfds.

    Raises:
      InputError: the data set is unknown, not prepared, or in another format.
    """
    if name not in embedded and (held := kind_of_embedded(name)):
        raise _of_another_kind(name, held, expected)
    logging.getLogger("absl").setLevel(logging.ERROR)  # its advice to install OpenCV
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.constants import DATA_DIR

    root = Path(data_dir or DATA_DIR).expanduser()
    try:
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            builder = tfds.builder(name, data_dir=root)
    except tfds.core.DatasetNotFoundError:
        if held := other_kind(name, root, kind):  # its package needs what is not installed
            raise _of_another_kind(name, held, expected) from None
        if kinds_of(name, root):
            raise _not_prepared(name, root) from None
        found = (
            sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        )
        # The caller names the folder of this name; a similar data set would only mislead.
        hint = "." if Path(name).is_dir() else near(name, embedded, root, kind)
        listed = "".join(f"{word}, " for word in embedded)
        raise InputError(
            f"unknown data '{name}'{hint} Known: {listed}what lies prepared in"
            f" --data-dir {root} ({', '.join(found) or 'nothing'}), and {kind} data sets of tfds"
        ) from None
    except (ValueError, AssertionError) as error:  # tfds cannot parse the name and version
        first = (str(error).splitlines() or ["not a name"])[0]
        raise InputError(f"data '{name}': {first}; expected NAME or NAME:VERSION") from None
    except ImportError as error:
        if held := other_kind(name, root, kind):
            raise _of_another_kind(name, held, expected) from None
        if not any((root / re.split(r"[:/]", name)[0]).rglob("dataset_info.json")):
            raise _not_prepared(name, root) from None
        missing = error.name or str(error).rpartition("No module named ")[2].strip("'")
        raise InputError(
            f"data '{name}' has features that tfds reads only with '{missing}' installed; expected"
            f" {expected}"
        ) from None
    except Stopped:
        raise
    except Exception as error:  # whatever tfds makes of a damaged description
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"data '{name}' in {root} has a description (dataset_info.json, features.json) that"
            f" cannot be read: {type(error).__name__}: {first}; copy or prepare it again"
        ) from None
    if not (Path(builder.data_path) / "dataset_info.json").exists():
        if held := other_kind(name, root, kind):
            raise _of_another_kind(name, held, expected)
        raise _not_prepared(name, root)
    _require_array_record(name, builder, root)
    return builder


def _of_another_kind(name: str, held: str, expected: str) -> InputError:
    return InputError(
        f"data '{name}' holds {held}; expected {expected}. {readers_of(held).capitalize()}"
    )


def _not_prepared(name: str, root: Path) -> InputError:
    return InputError(
        f"data '{name}' is not prepared in --data-dir {root}; name the folder that has it, or"
        f" prepare it once: pip install -e '.[prepare]' && tfds build {name}"
        f" --file_format=array_record --data_dir={root}"
    )


def _require_array_record(name: str, builder, root: Path) -> None:
    folder = Path(builder.data_path)
    found = builder.info.file_format.value
    if found != "array_record":
        raise InputError(
            f"data '{name}' in {folder} is stored as {found}; expected array_record. Convert it:"
            f" pip install -e '.[prepare]' && tfds convert_format"
            f" --dataset_version_dir={folder} --out_file_format=array_record"
            f" --out_dir=NEW_DATA_DIR/{folder.relative_to(root)}"
        )


def _class_names(builder, feature: str) -> tuple[str, ...]:
    """Returns the class names of a feature; none for one that is no class label."""
    found = builder.info.features
    # A feature's own name may have a slash, as "audio/filename" has.
    for name in [feature] if feature in found else feature.split("/"):
        found = found[name]
    return tuple(getattr(found, "names", None) or ())


def describe_features(builder) -> str:
    """Lists the features of a data set with their kinds, for an error: "text (Text), ...", and says
    which experiments read such data."""
    features = builder.info.features.items()
    told = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features)
    held = kind_of_prepared(Path(builder.data_path))
    return told + (f". It holds {held}: {readers_of(held)}" if held else "")


def _stored_features(builder) -> dict[str, Any]:
    """Returns how each feature is stored (its shape and np_dtype), by its name in the files."""
    from tensorflow_datasets.core.utils import flatten_nest_dict

    return flatten_nest_dict(builder.info.features.get_serialized_info())


def _value(feature: str, features: Mapping[str, Any]) -> _Value:
    """Finds the place of a feature's values.

    Raises:
      InputError: no such feature, or one whose shape varies in several dimensions.
    """
    if feature not in features:
        raise InputError(
            f"unknown feature '{feature}'{closest(feature, features)} Known: {', '.join(features)}"
        )
    stored = features[feature]
    shape = tuple(-1 if side is None else side for side in stored.shape)
    dtype = np.dtype(stored.np_dtype)
    if shape.count(-1) > 1 or dtype.kind not in _LISTS:
        raise InputError(
            f"feature '{feature}' has shape {stored.shape} and type {dtype}; expected numbers or"
            " bytes of a shape that varies in at most one dimension"
        )
    return _Value(feature, _LISTS[dtype.kind], shape, dtype)


def _as_array(feature: str, values, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    try:
        return np.array(values, dtype).reshape(shape)
    except ValueError:
        raise BadRecord(
            f"has {len(values)} values of '{feature}'; expected shape {shape}", "unreadable"
        ) from None
