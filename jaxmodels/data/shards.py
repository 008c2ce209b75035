"""The files of a tfds data set on disk: all there, and as long as its description says."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.walking import open_regular
from jaxmodels.errors import InputError

_MEND = "copy it anew, or prepare the data set again"


def require_shards(name: str, builder, splits: Iterable[str]) -> None:
    """Opens each shard and counts its records, which reads the end of each file only.

    Raises:
      InputError: a shard that is missing, cut or of another number of records; it names the shard.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    for split in splits:
        info = builder.info.splits[split]
        for path, expected in zip(map(Path, info.filepaths), info.shard_lengths):
            said = f"expected {expected:,} records, as dataset_info.json says: {_MEND}"
            try:
                with open_regular(path) as file:
                    size = file.seek(0, 2)
            except OSError as error:
                raise InputError(
                    f"data '{name}': shard {path} of split {split} cannot be read:"
                    f" {error.strerror}; {said}"
                ) from None
            try:
                reader = ArrayRecordReader(str(path))
                found = reader.num_records()
                reader.close()
            except (RuntimeError, ValueError, IndexError):
                found = 0
            if found != expected:
                raise InputError(
                    f"data '{name}': shard {path} of split {split} is cut or damaged: of its"
                    f" {size:,} bytes {found:,} records can be read; {said}"
                )


def fingerprint_of_shards(name: str, builder, splits: Iterable[str]) -> str:
    """Hashes the content of the description and of the shards of these splits.

    Raises:
      InputError, RunError: the cache cannot be written.
    """
    folder = Path(builder.data_path)
    described = [p for p in folder.iterdir() if p.name.endswith((".json", ".labels.txt"))]
    shards = [Path(path) for split in splits for path in builder.info.splits[split].filepaths]
    return fingerprint_of(name, {path.name: path for path in [*described, *shards]}, folder)


def older_fingerprint(folder: Path) -> str:
    """Hashes the description and the record files' names and sizes, as runs did before content was
    hashed."""
    records = sorted(
        (p.name, p.stat().st_size) for p in folder.iterdir() if "array_record" in p.name
    )
    digest = hashlib.sha256((folder / "dataset_info.json").read_bytes())
    digest.update(json.dumps(records).encode())
    return digest.hexdigest()[:16]
