"""Data sets of sounds by name: folders of files, those of tensorflow-datasets, and in memory.

Records have the columns "sound", encoded bytes or samples, "label" and, where the name of the file
is known, "file". The fact "sound" of a data set is the rate of samples that are not encoded.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from jaxmodels.data.audio.folder import open_sound_folder
from jaxmodels.data.dataset import TRAIN, ArrayRecords, Dataset, evaluation_splits
from jaxmodels.data.tfds import describe_features, prepared_builder, tfds_dataset
from jaxmodels.errors import InputError
from jaxmodels.files import is_path


def open_sounds(name: str, data_dir: str | None, embedded: Sequence[str] = ()) -> Dataset:
    """Opens a folder of sounds (a path: with a separator or a dot in front), or a tfds data set.

    Raises:
      InputError: as `open_sound_folder` and `open_tfds_sounds`.
    """
    path = Path(name).expanduser()
    if is_path(name):
        if not path.is_dir():
            raise InputError(f"data '{name}' is no folder; expected one with sounds in train/CLASS")
        return open_sound_folder(path)
    try:
        return open_tfds_sounds(name, data_dir, embedded)
    except InputError as error:
        if path.is_dir():
            raise InputError(f"{error}. For the folder of that name: --data ./{name}") from None
        raise


def open_tfds_sounds(name: str, data_dir: str | None, embedded: Sequence[str] = ()) -> Dataset:
    """Opens a data set that tfds has prepared as ArrayRecord, with one sound and a class label.

    Raises:
      InputError: it is unknown, not prepared, in another format, or has other features.
    """
    import tensorflow_datasets as tfds

    expected = "one sound and a class label"
    with sounds_without_tensorflow():
        builder: Any = prepared_builder(name, data_dir, "sound", expected, embedded)
    features = builder.info.features

    def of(kind):
        return [key for key, value in features.items() if isinstance(value, kind)]

    sounds, labels = of(tfds.features.Audio), of(tfds.features.ClassLabel)
    if len(sounds) != 1 or len(labels) != 1:
        raise InputError(
            f"data '{name}' has {len(sounds)} sounds and {len(labels)} class labels; expected"
            f" {expected}. Its features: {describe_features(builder)}"
        )
    columns = {"sound": sounds[0], "label": labels[0]}
    if f"{sounds[0]}/filename" in features:
        columns["file"] = f"{sounds[0]}/filename"
    rate = int(features[sounds[0]].sample_rate or 0)
    dataset = tfds_dataset(name, builder, columns, {"sound": rate})
    return dataset._replace(older_fingerprint="")


@contextlib.contextmanager
def sounds_without_tensorflow() -> Iterator[None]:
    """Lets tfds describe features of sound without TensorFlow, which it asks for their decoder.

    The decoder is not used: records are lists of integers, or encoded files.
    """
    from tensorflow_datasets.core.features import audio_feature

    own = {
        "_EagerDecoder": SimpleNamespace,
        "_LazyDecoder": SimpleNamespace,
        "tf": SimpleNamespace(string=np.object_),
    }
    before = {name: getattr(audio_feature, name) for name in own}
    try:
        for name, value in own.items():
            setattr(audio_feature, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(audio_feature, name, value)


def in_memory(splits: Mapping[str, Any], rate: int, name: str = "given") -> Dataset:
    """Makes a data set of lists: {"train": [(samples, label), ...], "test": [...]}. Samples are
    int16, or floats of -1..1; labels are names of classes or numbers.

    Raises:
      InputError: no training split, or examples of another form.
    """
    splits = {split: list(examples) for split, examples in splits.items()}
    if TRAIN not in splits:
        raise InputError(f"data has the splits {', '.join(splits) or 'none'}; expected '{TRAIN}'")
    if not rate:
        raise InputError("rate = 0; sounds in memory need one: expected --rate N, samples a second")
    if any(len(one) != 2 for some in splits.values() for one in some):
        raise InputError("data has other examples; expected (samples, label)")
    names = tuple(sorted({str(one[1]) for some in splits.values() for one in some}, key=_in_order))
    digest, records = hashlib.sha256(repr((rate, names)).encode()), {}
    for split in [TRAIN, *evaluation_splits(splits)]:
        sounds = np.empty(len(splits[split]), object)
        sounds[:] = [np.asarray(samples) for samples, _ in splits[split]]
        labels = np.array([names.index(str(label)) for _, label in splits[split]], np.int32)
        records[split] = ArrayRecords({"sound": sounds, "label": labels})
        digest.update(f"{split} {labels.tolist()}".encode())
        for sound in sounds:
            digest.update(str((sound.shape, sound.dtype)).encode() + sound.tobytes())
    content = digest.hexdigest()[:16]
    return Dataset(name, "memory", content, records, {"label": names}, {"sound": rate})


def _in_order(name: str) -> tuple[bool, int, str]:
    """Orders names: numbers by their values, before others."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name
