"""Sentences by flags: what is read, how it is divided, and how it becomes tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxmodels.cache import cache_folder
from jaxmodels.data.buckets import Bucket, choose_buckets
from jaxmodels.data.carving import check_shares
from jaxmodels.data.checking import check_policy
from jaxmodels.data.dataset import TRAIN, Dataset, parts_of
from jaxmodels.data.kept import kept
from jaxmodels.data.sentences.checking import MENDS, Examined, examine, load_examined
from jaxmodels.data.sentences.dividing import divided, folded, read
from jaxmodels.data.sentences.opinions import NAME, opinions
from jaxmodels.data.sentences.reading import COLUMNS, Wanted, in_memory, open_files, open_tfds
from jaxmodels.data.sentences.sentence_data import (
    SentenceData,
    Sentences,
    absent_sentences,
)
from jaxmodels.data.sentences.vocabulary import piece_vocabulary, word_vocabulary
from jaxmodels.data.text.framing import rounded_up
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.files import is_path
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_VERSION = 2  # of what is kept in the cache of sentences
_MULTIPLE = 8  # of the length of a row
_MOST_LENGTH = {"words": 512, "pieces": 8192, "file": 512}
KINDS = ("words", "pieces")


@dataclass(frozen=True, kw_only=True)
class SentenceConfig:
    """Which sentences, how they are divided, and their tokens."""

    data: str = NAME
    """Sentences with labels: opinions (8,000 that a grammar generates), a tfds data set with text
    and a class label, a file .csv or .tsv (.gz), or a folder with train.csv, test.csv, ..."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    text_columns: tuple[str, ...] = ()
    """Column or feature of the text, or two of them for pairs; none: the one of a usual name."""
    label_column: str = ""
    """Column or feature of the label; empty: the one of a usual name."""
    validation_fraction: float | None = None
    """Share of the training sentences to choose the best checkpoint with, where there is no
    validation split; None: 0.1; 0: none."""
    test_fraction: float | None = None
    """Share of the training sentences to test with, where there is no test split; None: 0.1; 0:
    none."""
    folds: int = 0
    """Cross-validation: all splits are joined and divided into so many folds of equal numbers of
    each class. One run for each, in WORKDIR/fold-N; the last line has their mean and deviation."""
    fold: int | None = None
    """Train the run of this fold alone, from 0."""
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most sentences that may be bad (unreadable, empty, too long, with a label out of range, in
    two splits, twice with two labels) and are left out; more are an error that lists them."""
    longest: int = 20_000
    """Most characters of a sentence; longer ones are bad."""
    tokenizer: str = ""
    """words of the training split; pieces, phrases of up to three words and parts of words, in no
    order; or a path to a published tokenizer.json or its folder. Empty: as the model needs."""
    vocabulary: int = 1_000_000
    """Most words or pieces, of which the commonest are kept."""
    length: int = 0
    """Tokens of a row; the end of a longer text is cut off. 0: those of the longest training text,
    at most 512 (words) or 8,192 (pieces)."""
    buckets: int = 1
    """Lengths of training batches, at most, of which --length is the longest: sentences of similar
    lengths go together, with less padding. Each is compiled once."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        least = {"folds": 0, "skip_bad_records": 0, "longest": 1, "length": 0, "buckets": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least {value}")
        if self.vocabulary < 3:
            raise InputError(f"vocabulary = {self.vocabulary}; expected at least 3")
        if self.folds == 1 or (self.fold is not None and not 0 <= self.fold < self.folds):
            raise InputError(
                f"folds = {self.folds}, fold = {self.fold}; expected two folds or more, as --folds"
                " 10, and a fold below that"
            )
        if self.folds and self.test_fraction:
            raise InputError(
                f"test_fraction = {self.test_fraction} with folds = {self.folds}; a fold is to test"
                " with: leave it out"
            )
        if len(self.text_columns) > len(COLUMNS):
            raise InputError(
                f"text_columns = {' '.join(self.text_columns)}; expected one text, or two"
            )
        check_shares(self.validation_fraction, self.test_fraction)


class _Checked(NamedTuple):
    """Good sentences with the names of their classes."""

    dataset: Dataset
    examined: Examined


def load_sentences(config: SentenceConfig, given: Any = None, kind: str = "words") -> SentenceData:
    """Loads the sentences that a config describes.

    given: sentences in memory to read in its place (see `in_memory`), a `SentenceData`, or
      what a run has kept of some.
    kind: the tokenizer where the config names none.

    Raises:
      InputError: no such data or column, more bad sentences than allowed, no fold chosen, or a
        tokenizer that cannot be read.
    """
    if isinstance(given, Metadata):
        return absent_sentences(given)
    if isinstance(given, SentenceData):
        return given
    config.validate()
    if config.folds and config.fold is None:
        raise InputError(f"folds = {config.folds}; one run is of one fold: expected --fold N")
    checked = _checked(config, given)
    splits = _splits(config, checked)
    tokenizer = _tokenizer(config, splits[TRAIN].texts, kind)
    most = config.length or _MOST_LENGTH.get(tokenizer.name, 512)
    lengths = {
        split: [(len(text.tokens), text.is_cut) for text in tokenizer.framed(some.texts, most)]
        for split, some in splits.items()
    }
    longest = max(length for length, _ in lengths[TRAIN])
    length = config.length or rounded_up(longest, _MULTIPLE, most)
    cut = {
        split: sum(is_cut or size > length for size, is_cut in found)
        for split, found in lengths.items()
    }
    cleaning = dict(checked.examined.cleaning)
    if any(cut.values()):
        cleaning["cut"] = {split: count for split, count in cut.items() if count}
    dataset = checked.dataset
    return SentenceData(
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        class_names=tuple(dataset.names["label"]),
        splits=splits,
        tokenizer=tokenizer,
        length=length,
        texts=len(splits[TRAIN].texts[0]),
        buckets=_buckets(config, [size for size, _ in lengths[TRAIN]], length),
        fold=(int(config.fold or 0), config.folds) if config.folds else None,
        cleaning=cleaning,
        skipped=checked.examined.bad,
    )


def _buckets(config: SentenceConfig, sizes: Sequence[int], length: int) -> tuple[Bucket, ...]:
    """Chooses the lengths of training batches; none where one is as good."""
    found = choose_buckets(np.minimum(sizes, length)[:, None], (length,), config.buckets)
    return found if len(found) > 1 else ()


def sentences_elsewhere(data: SentenceData, config: SentenceConfig) -> SentenceData:
    """Loads the sentences that a config names, whole splits of them, as more of `data`: with its
    tokens and classes.

    Raises:
      InputError: as `load_sentences`, or other classes.
    """
    checked = _checked(config, None)
    names = tuple(checked.dataset.names["label"])
    strange = [name for name in names if name not in data.class_names]
    if strange:
        raise InputError(
            f"data '{checked.dataset.name}' has the class '{strange[0]}'; the run knows"
            f" {', '.join(data.class_names)}"
        )
    number = np.array([data.class_names.index(name) for name in names], np.int32)
    splits = {
        split: some._replace(labels=number[some.labels])
        for split, some in (
            (split, read([found])) for split, found in checked.examined.splits.items()
        )
    }
    return SentenceData(
        name=checked.dataset.name,
        version=checked.dataset.version,
        fingerprint=checked.dataset.fingerprint,
        class_names=data.class_names,
        splits=splits,
        tokenizer=data.tokenizer,
        length=data.length,
        texts=data.texts,
        skipped=checked.examined.bad,
    )


def _checked(config: SentenceConfig, given: Any) -> _Checked:
    dataset = _opened(config, given)
    parts = parts_of(dataset)
    classes = dataset.names["label"]
    options = repr((_VERSION, config.longest, classes, config.text_columns, config.label_column))
    digest = hashlib.sha256(options.encode()).hexdigest()[:8]
    name = f"{dataset.name[:100]}-{dataset.version}-{dataset.fingerprint}-sentences-{digest}"

    def make(partial: Path) -> None:
        examine(dataset.name, parts, len(classes), config.longest, partial)

    folder = kept(cache_folder("data") / name, make)
    examined = load_examined(folder, parts)
    check_policy(dataset.name, examined.bad, config.skip_bad_records, folder, MENDS)
    if TRAIN not in examined.splits:
        raise InputError(f"data '{dataset.name}' has no good sentence to train on; expected some")
    return _Checked(dataset, examined)


def _opened(config: SentenceConfig, given: Any) -> Dataset:
    if given is not None:
        if not isinstance(given, Mapping):
            raise InputError(
                f"data is a {type(given).__name__}; expected {{'train': [(text, label), ...],"
                " 'test': [...]}"
            )
        return in_memory(given)
    if config.data == NAME:
        return opinions()
    wanted = Wanted(config.text_columns, config.label_column)
    path = Path(config.data).expanduser()
    if is_path(config.data) or path.is_file():
        return open_files(path, wanted)
    return open_tfds(config.data, config.data_dir, wanted, (NAME,))


def _splits(config: SentenceConfig, checked: _Checked) -> dict[str, Sentences]:
    splits, validation = checked.examined.splits, config.validation_fraction
    if config.folds:
        return folded(splits, config.folds, int(config.fold or 0), validation)
    _require_trained_classes(checked)
    return divided(checked.dataset.name, splits, validation, config.test_fraction)


def _require_trained_classes(checked: _Checked) -> None:
    """
    Raises:
      InputError: an evaluation split has a class that no training sentence has.
    """
    splits, names = checked.examined.splits, checked.dataset.names["label"]
    trained = np.unique(splits[TRAIN].known["label"])
    for split, some in splits.items():
        strange = np.setdiff1d(some.known["label"], trained)
        if len(strange):
            raise InputError(
                f"data '{checked.dataset.name}' has class '{names[strange[0]]}' in {split}, which"
                f" train lacks; expected {', '.join(names[label] for label in trained)}"
            )


def _tokenizer(config: SentenceConfig, train: Sequence[tuple[str, ...]], kind: str) -> Any:
    name = config.tokenizer or kind
    if name in KINDS:
        make = word_vocabulary if name == "words" else piece_vocabulary
        return make(train, config.vocabulary)
    tokenizer = load_tokenizer(Path(name).expanduser())
    if not hasattr(tokenizer, "framed"):
        raise InputError(
            f"tokenizer = {name}; it frames no sentences: expected words, pieces, or a published"
            " tokenizer.json, as BERT's"
        )
    return tokenizer
