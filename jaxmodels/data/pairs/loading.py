"""Pairs of texts by flags: what is read, how it is divided, and how it becomes tokens."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxmodels.cache import cache_folder
from jaxmodels.data.buckets import bucket_of, choose_buckets, filled
from jaxmodels.data.carving import check_shares
from jaxmodels.data.checking import check_policy
from jaxmodels.data.dataset import (
    TEST,
    TRAIN,
    VALIDATION,
    Dataset,
    Selection,
    evaluation_splits,
    parts_of,
)
from jaxmodels.data.kept import kept
from jaxmodels.data.pairs.checking import (
    MENDS,
    SIDES,
    Examined,
    examine,
    in_evaluation,
    load_examined,
)
from jaxmodels.data.pairs.dates import NAME, dates
from jaxmodels.data.pairs.pair_data import PairData, Pairs, absent_pairs
from jaxmodels.data.pairs.reading import Pair, in_memory, is_files, open_files, open_tfds
from jaxmodels.data.pairs.rows import PairRows
from jaxmodels.data.sentences.folding import held_out
from jaxmodels.data.text.choosing import require_tokenizer
from jaxmodels.data.text.corpus import Texts
from jaxmodels.data.text.tokenizers import Tokenizer, characters_of, load_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.files import is_path
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_VERSION = 2  # of what is kept in the cache of pairs
_SHARE = 0.999  # of the training pairs, which fit a row
_MULTIPLE = 4  # of the length of a row
_HELD_OUT = 0.05  # of the training pairs, for a validation or test split that is not there
KINDS = ("chars", "bpe")


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Which pairs of texts, how they are divided, and their tokens."""

    data: str = NAME
    """Pairs of texts: dates (written in two languages and by ISO 8601; generated), a tfds data set
    with two texts (tatoeba_translate, wmt14_translate/de-en), a TSV file, the common beginning of
    two text files (corpus/train of train.de and train.en), or a folder of such files: train.tsv,
    test.tsv."""
    pair: str = ""
    """Direction, SOURCE-TARGET: names of features or columns, endings of files, or numbers of the
    columns of a TSV file (2-1). Empty: the first two of features by the alphabet, or of
    columns, and a TSV file has no line of names."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    validation_fraction: float | None = None
    """Share of the training pairs to choose the best checkpoint with, where there is no validation
    split; None: 0.05; 0: none."""
    test_fraction: float | None = None
    """Share of the training pairs to test with, where there is no test split; None: 0.05; 0: none.
    """
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most pairs that may be bad (unreadable, empty, too long, in two splits) and are left out;
    more are an error that lists them."""
    drop_shared: bool = False
    """Leave out training pairs of which the source or the target is in an evaluation split, beside
    another text."""
    longest: int = 10_000
    """Most characters of a text; pairs with longer ones are bad."""
    tokenizer: str = ""
    """Tokens of both sides: chars, bpe, or a path to a published tokenizer.json; empty: chars for
    dates, otherwise bpe."""
    vocabulary: int = 8000
    """Tokens of bpe."""
    prefix: str = ""
    """Text before each source, as T5 is told its task ('translate English to German: ')."""
    length: int = 0
    """Most tokens of a text that is trained on; others may have four times as many. 0: what 99.9%
    of the training pairs fit."""
    buckets: int = 4
    """Shapes of batches, each compiled once; more have less padding."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        Pair.of(self.pair)
        least = {"skip_bad_records": 0, "longest": 1, "length": 0, "buckets": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least {value}")
        if 0 < self.length < 4:
            raise InputError(f"length = {self.length}; expected at least 4, or 0")
        if self.tokenizer in ("bytes", "words"):
            raise InputError(f"tokenizer = {self.tokenizer}; expected chars, bpe, or a path")
        require_tokenizer(self.tokenizer or "chars", self.vocabulary)
        check_shares(self.validation_fraction, self.test_fraction)


class _Checked(NamedTuple):
    dataset: Dataset
    examined: Examined
    folder: Path


class _Texts(NamedTuple):
    """Pairs of a split before they are tokens."""

    sources: list[str]
    targets: list[str]
    keys: list[str]


def load_pairs(config: PairConfig, given: Any = None) -> PairData:
    """Loads the pairs that a config describes.

    given: pairs in memory to read in its place (see `in_memory`), a `PairData`, or what
      a run has kept of some.

    Raises:
      InputError: no such data or column, more bad pairs than allowed, too few to divide, or a
        tokenizer that cannot be read.
    """
    if isinstance(given, Metadata):
        return absent_pairs(given)
    if isinstance(given, PairData):
        return given
    config.validate()
    checked = _checked(config, given)
    dataset, cleaning = checked.dataset, dict(checked.examined.cleaning)
    if TRAIN not in checked.examined.splits:
        raise InputError(f"data '{dataset.name}' has no good pair to train on; expected some")
    splits = _divided(config, dataset.name, checked.examined.splits)
    splits, found = _without_shared(config, splits)
    cleaning |= found
    texts = {split: _read(some) for split, some in splits.items()}
    rows = PairRows.of(_tokenizer(config, checked, texts), config.prefix)
    sizes = {split: _token_counts(rows, some) for split, some in texts.items()}
    lengths = _lengths(config, sizes[TRAIN])
    fits = (sizes[TRAIN] <= lengths).all(axis=1)
    if not fits.all():
        cleaning["long"] = int((~fits).sum())
    if not fits.any():
        raise InputError(f"length = {config.length}; no training pair has so few tokens")
    texts[TRAIN] = _Texts(*(_of(side, np.flatnonzero(fits)) for side in texts[TRAIN]))
    sizes[TRAIN] = sizes[TRAIN][fits]
    buckets = filled(choose_buckets(sizes[TRAIN], lengths, config.buckets))
    data = PairData(
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        pair=config.pair,
        splits={},
        rows=rows,
        lengths=lengths,
        buckets=buckets,
        cleaning=cleaning,
        skipped=checked.examined.bad,
    )
    return _with_splits(data, texts, sizes)


def pairs_elsewhere(data: PairData, config: PairConfig) -> PairData:
    """Loads the pairs that a config names, whole splits of them, as more of `data`, with its
    tokens.

    Raises:
      InputError: as `load_pairs`.
    """
    config.validate()
    checked = _checked(config, None)
    texts = {split: _read(some) for split, some in checked.examined.splits.items()}
    sizes = {split: _token_counts(data.rows, some) for split, some in texts.items()}
    other = replace(
        data,
        name=checked.dataset.name,
        version=checked.dataset.version,
        fingerprint=checked.dataset.fingerprint,
        cleaning={},
        skipped=checked.examined.bad,
    )
    return _with_splits(other, texts, sizes)


def _with_splits(
    data: PairData, texts: Mapping[str, _Texts], sizes: Mapping[str, np.ndarray]
) -> PairData:
    """Gives data its splits, ordered by their lengths, and counts what is cut of them."""
    cut = {split: int((some > data.longest).any(axis=1).sum()) for split, some in sizes.items()}
    cleaning = dict(data.cleaning)
    if any(cut.values()):
        cleaning["cut"] = {split: count for split, count in cut.items() if count}
    splits = {
        split: _ordered(some, np.minimum(sizes[split], data.longest), data.buckets)
        for split, some in texts.items()
    }
    return replace(data, splits=splits, cleaning=cleaning)


def _checked(config: PairConfig, given: Any) -> _Checked:
    dataset = _opened(config, given)
    parts = parts_of(dataset)
    options = repr((_VERSION, config.longest, config.pair))
    digest = hashlib.sha256(options.encode()).hexdigest()[:8]
    name = f"{dataset.name[:100]}-{dataset.version}-{dataset.fingerprint}-pairs-{digest}"
    folder = cache_folder("data") / name
    folder = kept(folder, lambda partial: examine(dataset.name, parts, config.longest, partial))
    examined = load_examined(folder, parts)
    check_policy(dataset.name, examined.bad, config.skip_bad_records, folder, MENDS)
    return _Checked(dataset, examined, folder)


def _opened(config: PairConfig, given: Any) -> Dataset:
    if given is not None:
        if not isinstance(given, Mapping):
            raise InputError(
                f"data is a {type(given).__name__}; expected {{'train': [(source, target), ...],"
                " 'test': [...]}"
            )
        return in_memory(given)
    if config.data == NAME:
        if config.pair:
            raise InputError(
                f"pair = {config.pair}; expected none with --data {NAME}, which go from both"
                " languages to ISO 8601"
            )
        return dates()
    pair = Pair.of(config.pair)
    path = Path(config.data).expanduser()
    if is_path(config.data) or path.is_file() or is_files(path, pair):
        return open_files(path, pair)
    return open_tfds(config.data, config.data_dir, pair, (NAME,))


def _divided(
    config: PairConfig, name: str, splits: Mapping[str, Selection]
) -> dict[str, Selection]:
    """Divides the training split where it has to make others. Pairs of equal sources go
    together."""
    train = splits[TRAIN]
    hashes = train.known["source"]
    left, found = np.ones(len(train), bool), {}
    wanted = {VALIDATION: config.validation_fraction, TEST: config.test_fraction}
    for split, share in wanted.items():
        if split in splits:
            if share:
                raise InputError(
                    f"{split}_fraction = {share}, but data '{name}' has this split; expected 0"
                )
            continue
        if share := _HELD_OUT if share is None else share:
            chosen = left & held_out(hashes, np.zeros(len(train), np.int32), share, split)
            found[split], left = chosen, left & ~chosen
    if not left.any() or not all(rows.any() for rows in found.values()):
        raise InputError(
            f"data '{name}' has {len(train):,} training pairs, which are too few to divide:"
            " expected more, or --validation-fraction 0 --test-fraction 0"
        )
    all_splits = {**splits, **{split: _chosen(train, rows) for split, rows in found.items()}}
    all_splits[TRAIN] = _chosen(train, left)
    return {split: all_splits[split] for split in [TRAIN, *evaluation_splits(all_splits)]}


def _without_shared(
    config: PairConfig, splits: Mapping[str, Selection]
) -> tuple[dict[str, Selection], dict[str, Any]]:
    """Counts the training pairs of which a text stands in an evaluation split, also in one that has
    been made of the training split, and leaves them out if they are not wanted."""
    marks = in_evaluation(splits)
    counts = {side: int(found.sum()) for side, found in marks.items() if found.any()}
    cleaning: dict[str, Any] = {"shared": counts} if counts else {}
    if not config.drop_shared:
        return dict(splits), cleaning
    shared = np.any(list(marks.values()), axis=0)
    if shared.all():
        raise InputError(
            "drop_shared = True; each training pair has a text that an evaluation split has:"
            " expected others, or leave it out"
        )
    kept = {**splits, TRAIN: _chosen(splits[TRAIN], ~shared)}
    return kept, {**cleaning, "dropped": int(shared.sum())}


def _chosen(some: Selection, rows: np.ndarray) -> Selection:
    known = {name: column[rows] for name, column in some.known.items()}
    return Selection(some.records, some.rows[rows], known)


def _read(some: Selection) -> _Texts:
    records = some.read(range(len(some)))
    source, target = ([record[side].decode() for record in records] for side in SIDES)
    return _Texts(source, target, [some.key(row) for row in range(len(some))])


def _of(values: Sequence, rows: np.ndarray) -> list:
    return [values[row] for row in rows.tolist()]


def _token_counts(rows: PairRows, texts: _Texts) -> np.ndarray:
    """Counts the tokens of each pair, with the end of a source and both frames of a target."""
    source, target = (
        np.array([len(one) for one in tokens], np.int64) + framing
        for tokens, framing in ((rows.read(texts.sources), 1), (rows.written(texts.targets), 2))
    )
    return np.stack([source, target], axis=1)


def _lengths(config: PairConfig, sizes: np.ndarray) -> tuple[int, int]:
    if config.length:
        return config.length, config.length
    longest = np.quantile(sizes, _SHARE, axis=0, method="higher")
    source, target = (int(-(-int(side) // _MULTIPLE) * _MULTIPLE) for side in longest)
    return source, target


def _ordered(texts: _Texts, sizes: np.ndarray, buckets) -> Pairs:
    """Orders the pairs of a split by their lengths."""
    order = np.lexsort((sizes[:, 0], sizes[:, 1], bucket_of(sizes, buckets)))
    sides = (_of(side, order) for side in texts)
    return Pairs(*sides, places=order, lengths=sizes[order])


def _tokenizer(config: PairConfig, checked: _Checked, texts: Mapping[str, _Texts]) -> Tokenizer:
    """Makes the tokenizer of both sides of the training pairs at the first call, and keeps it
    beside what was found of them; or reads a published one."""
    kind = config.tokenizer or ("chars" if checked.dataset.name == NAME else "bpe")
    if kind not in KINDS:
        return load_tokenizer(Path(kind).expanduser())
    train = texts[TRAIN]
    shares = (config.validation_fraction, config.test_fraction, config.drop_shared)
    options = repr((kind, config.vocabulary if kind == "bpe" else 0, *shares))
    digest = hashlib.sha256(options.encode()).hexdigest()[:8]
    folder = checked.folder.with_name(f"{checked.folder.name}-tokenizer-{digest}")

    def make(partial: Path) -> None:
        if kind == "chars":
            others = (
                text for split, some in texts.items() if split != TRAIN for text in _both(some)
            )
            characters_of(_both(train), others, True).save(partial)
            return
        from jaxmodels.data.text.bpe import train_bpe

        encoded = [text.encode() for text in _both(train)]
        ends = np.cumsum([len(text) for text in encoded])
        file = partial / "texts"
        file.write_bytes(b"".join(encoded))
        ranges = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
        train_bpe(Texts(file, ranges), config.vocabulary).save(partial)
        file.unlink()

    return load_tokenizer(kept(folder, make))


def _both(texts: _Texts) -> Iterator[str]:
    yield from texts.sources
    yield from texts.targets
