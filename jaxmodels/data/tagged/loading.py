"""Tagged sentences by flags: what is read, how it is divided, and how it becomes tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmodels.cache import cache_folder
from jaxmodels.data.carving import check_shares
from jaxmodels.data.checking import Findings, check_policy, load_findings
from jaxmodels.data.dataset import TRAIN, Dataset, Selection, parts_of
from jaxmodels.data.kept import kept
from jaxmodels.data.sentences.dividing import divided
from jaxmodels.data.tagged.checking import MENDS, examine
from jaxmodels.data.tagged.notes import NAME, notes
from jaxmodels.data.tagged.pieces import Aligning, PieceTokens, word_tokens
from jaxmodels.data.tagged.reading import OUTSIDE, in_memory, open_files, open_tfds
from jaxmodels.data.tagged.tagged_data import Tagged, TaggedData, absent_tagged
from jaxmodels.data.text.bpe import PublishedTokenizer
from jaxmodels.data.text.framing import rounded_up
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.files import is_path
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_VERSION = 1  # of what is kept in the cache of tagged sentences
_MULTIPLE = 8  # of the length of a row
_MOST_LENGTH = 512  # tokens
WORDS = "words"
NONE = "none"  # the name of the data that has tags and no sentences


@dataclass(frozen=True, kw_only=True)
class TaggedConfig:
    """Which sentences, how they are divided, and their tokens."""

    data: str = NAME
    """Sentences whose words have tags (O, B-KIND, I-KIND): notes (5,500 that templates make), a
    file of JSON lines (.jsonl, with "tokens" and "tags"), a CoNLL file (.conll, .bio, .iob: a word
    and its tag a line), a folder with train.jsonl, test.jsonl, ..., or a tfds data set."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    tags_column: str = ""
    """Field, feature or number of the column (of a CoNLL file, from 1) of the tags; empty: the one
    of a usual name, or the last column."""
    tag_names: tuple[str, ...] = ()
    """Names of the tags in the order of their numbers; none: those of the training split."""
    validation_fraction: float | None = None
    """Share of the training sentences to choose the best checkpoint with, where there is no
    validation split; None: 0.1; 0: none."""
    test_fraction: float | None = None
    """Share of the training sentences to test with, where there is no test split; None: 0.1; 0:
    none."""
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most sentences that may be bad (unreadable, empty, too long, with another number of tags than
    of words, with an unknown tag, in two splits, twice with other tags) and are left out; more are
    an error that lists them."""
    longest: int = 2000
    """Most words of a sentence; longer ones are bad."""
    tokenizer: str = WORDS
    """words of the training split, or a path to a published tokenizer.json or its folder."""
    vocabulary: int = 50_000
    """Most words, of which the commonest are kept."""
    length: int = 0
    """Tokens of a row; words behind it are tagged O. 0: those of the longest training sentence, at
    most 512."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        for name, least in (("skip_bad_records", 0), ("longest", 1), ("length", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least {least}")
        if self.vocabulary < 3:
            raise InputError(f"vocabulary = {self.vocabulary}; expected at least 3")
        check_shares(self.validation_fraction, self.test_fraction)


class _Checked(NamedTuple):
    """Good sentences with the names of their tags."""

    dataset: Dataset
    findings: Findings


def load_tagged(
    config: TaggedConfig, given: Any = None, positions: int = _MOST_LENGTH
) -> TaggedData:
    """Loads the sentences that a config describes.

    given: sentences in memory to read in its place (see `in_memory`), a `TaggedData`, or
      what a run has kept of some.
    positions: the most tokens that the model takes.

    Raises:
      InputError: no such data or column, more bad sentences than allowed, or a tokenizer that
        cannot be read.
    """
    if isinstance(given, Metadata):
        return absent_tagged(given)
    if isinstance(given, TaggedData):
        return given
    config.validate()
    dataset, findings = _checked(config, given)
    shares = config.validation_fraction, config.test_fraction
    splits = divided(dataset.name, findings.splits, *shares, _read)
    tokenizer = _tokenizer(config, splits[TRAIN].words)
    most = min(config.length or _MOST_LENGTH, positions)
    sizes = [len(one.tokens) for one in tokenizer.pieces(splits[TRAIN].words, most)]
    data = TaggedData(
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        tags=tuple(dataset.names["tags"]),
        splits=splits,
        tokenizer=tokenizer,
        length=min(config.length, most) or rounded_up(max(sizes), _MULTIPLE, most),
        longest=min(_MOST_LENGTH, positions),
        cleaning=dict(findings.facts),
        skipped=findings.bad,
    )
    return _with_cut(data)


def tagged_elsewhere(data: TaggedData, config: TaggedConfig) -> TaggedData:
    """Loads the sentences that a config names, whole splits of them, as more of `data`: with its
    tokens and tags.

    Raises:
      InputError: as `load_tagged`, or other tags.
    """
    dataset, findings = _checked(config, None)
    names = dataset.names["tags"]
    strange = [name for name in names if name not in data.tags]
    if strange:
        raise InputError(
            f"data '{dataset.name}' has the tag '{strange[0]}'; the run knows"
            f" {', '.join(data.tags)}"
        )
    number = np.array([data.tags.index(name) for name in names], np.int32)
    read = {split: _read([some]) for split, some in findings.splits.items()}
    other = replace(
        data,
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        splits={
            split: some._replace(tags=[number[tags] for tags in some.tags])
            for split, some in read.items()
        },
        cleaning={},
        skipped=findings.bad,
    )
    return _with_cut(other)


def _with_cut(data: TaggedData) -> TaggedData:
    """Counts the sentences that are longer than a row."""
    cut = {split: sum(one.is_cut for one in data.pieces(split)) for split in data.splits}
    if not any(cut.values()):
        return data
    found = {split: count for split, count in cut.items() if count}
    return replace(data, cleaning={**data.cleaning, "cut": found})


def _checked(config: TaggedConfig, given: Any) -> _Checked:
    dataset = _opened(config, given)
    parts, tags = parts_of(dataset), dataset.names["tags"]
    options = repr((_VERSION, config.longest, tags, config.tags_column))
    digest = hashlib.sha256(options.encode()).hexdigest()[:8]
    name = f"{dataset.name[:100]}-{dataset.version}-{dataset.fingerprint}-tagged-{digest}"

    def make(partial: Path) -> None:
        examine(dataset.name, parts, tags, config.longest, partial)

    folder = kept(cache_folder("data") / name, make)
    findings = load_findings(folder, parts)
    check_policy(dataset.name, findings.bad, config.skip_bad_records, folder, MENDS)
    if TRAIN not in findings.splits:
        raise InputError(f"data '{dataset.name}' has no good sentence to train on; expected some")
    return _Checked(dataset, findings)


def _opened(config: TaggedConfig, given: Any) -> Dataset:
    names = config.tag_names
    if given is not None:
        if not isinstance(given, Mapping):
            raise InputError(
                f"data is a {type(given).__name__}; expected {{'train': [(words, tags), ...],"
                " 'test': [...]}"
            )
        return in_memory(given, names)
    if config.data == NONE:
        return in_memory({TRAIN: [((NONE,), (OUTSIDE,))]}, names, NONE)
    if config.data == NAME:
        return notes()
    path = Path(config.data).expanduser()
    if is_path(config.data) or path.is_file():
        return open_files(path, config.tags_column, names)
    return open_tfds(config.data, config.data_dir, config.tags_column, names, (NAME,))


def _read(found: Sequence[Selection], rows: Int[np.ndarray, " row"] | None = None) -> Tagged:
    """Reads sentences of a selection; rows: some of them."""
    (some,) = found
    chosen = (np.arange(len(some)) if rows is None else rows).tolist()
    records = some.read(chosen)
    return Tagged(
        [tuple(bytes(word).decode() for word in record["words"]) for record in records],
        [np.array(record["tags"], np.int32) for record in records],
        [some.key(row) for row in chosen],
    )


def _tokenizer(config: TaggedConfig, train: Sequence[tuple[str, ...]]) -> Aligning:
    if config.data == NONE and config.tokenizer in ("", WORDS):
        raise InputError(
            f"tokenizer = {WORDS}; the weights have tokens of their own: put their tokenizer.json"
            " beside them, or name it, --tokenizer PATH"
        )
    if config.tokenizer in ("", WORDS):
        return word_tokens(train, config.vocabulary)
    tokenizer = load_tokenizer(Path(config.tokenizer).expanduser())
    if not isinstance(tokenizer, PublishedTokenizer):
        raise InputError(
            f"tokenizer = {config.tokenizer}; it gives no pieces of words: expected words, or a"
            " published tokenizer.json, as BERT's"
        )
    return PieceTokens(tokenizer)
