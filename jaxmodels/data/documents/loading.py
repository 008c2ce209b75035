"""Documents by flags: what is read, how it is divided, and how it becomes tokens."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from jaxmodels.cache import cache_folder
from jaxmodels.data.carving import check_shares
from jaxmodels.data.checking import Findings, check_policy, load_findings
from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, Dataset, Selection, parts_of
from jaxmodels.data.documents.checking import MENDS, examine
from jaxmodels.data.documents.document_data import DocumentData, Documents, absent_documents
from jaxmodels.data.documents.reading import Wanted, in_memory, open_files, open_tfds, texts_in
from jaxmodels.data.documents.reports import NAME, reports
from jaxmodels.data.documents.rows import (
    COPY,
    PROMPT,
    SEQUENCE,
    CopyRows,
    PromptRows,
    Rows,
    SequenceRows,
)
from jaxmodels.data.documents.sentence_splitting import split_sentences
from jaxmodels.data.documents.words import copy_vocabulary
from jaxmodels.data.kept import kept
from jaxmodels.data.pairs.rows import PairRows
from jaxmodels.data.sentences.folding import held_out
from jaxmodels.data.text.framing import rounded_up
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.errors import InputError
from jaxmodels.files import is_path
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_WORDS = "words"  # the tokenizer of a model with copy
_VERSION = 2  # of what is kept in the cache of documents
_SHARE = 0.1  # of the training split, for a validation or test split that is not there
_MULTIPLE = 8  # of the lengths of rows
_MOST_DOCUMENT, _MOST_SUMMARY = 384, 64  # tokens, where no length is given


@dataclass(frozen=True, kw_only=True)
class DocumentConfig:
    """Which documents with summaries, how they are divided, and their tokens."""

    data: str = NAME
    """Documents with summaries: reports (5,000 that a grammar generates), a tfds data set with two
    text features, as scitldr, a file of JSON lines {"document", "summary" or "summaries"}, or a
    folder with train.jsonl, test.jsonl, ..."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    document_column: str = ""
    """Feature or name of the document; empty: the one of a usual name."""
    summary_column: str = ""
    """Feature or name of the summary; empty: the one of a usual name."""
    validation_fraction: float | None = None
    """Share of the training documents to choose the best checkpoint with, where there is no
    validation split; None: 0.1; 0: none."""
    test_fraction: float | None = None
    """Share of the training documents to test with, where there is no test split; None: 0.1; 0:
    none."""
    evaluated: int = 0
    """Evaluate so many documents of each split at most, the first ones; 0: all."""
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most documents that may be bad (unreadable, empty, too long, in two splits) and are left out;
    more are an error that lists them."""
    longest: int = 200_000
    """Most characters of a document; longer ones are bad."""
    tokenizer: str = ""
    """words of the training split, or a path to a published tokenizer.json or its folder. Empty: as
    the model needs."""
    vocabulary: int = 20_000
    """Most words, of which the commonest are kept."""
    rare: int = 3
    """Words of fewer training documents are not in the vocabulary: they can only be copied."""
    lower: bool = False
    """Words in small letters, of which a small training split has fewer."""
    prefix: str = ""
    """Text before each document, as T5 is told its task ('summarize: ')."""
    document_length: int = 0
    """Tokens of a document that are read; the rest is cut off. 0: those of the longest training
    document, at most 384."""
    summary_length: int = 0
    """Most tokens of a summary. 0: those of the longest training summary, at most 64."""
    buckets: int = 1
    """Shapes of training batches of a model with an encoder, at most: documents of similar lengths
    go together, more of them where they are short, as many tokens as --batch-size of the longest.
    """

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        least = {"skip_bad_records": 0, "evaluated": 0, "document_length": 0, "summary_length": 0}
        for name, value in (
            least | {"longest": 1, "rare": 1, "vocabulary": 5, "buckets": 1}
        ).items():
            if getattr(self, name) < value:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least {value}")
        check_shares(self.validation_fraction, self.test_fraction)


def load_documents(config: DocumentConfig, given: Any = None, kind: str = COPY) -> DocumentData:
    """Loads the documents that a config describes.

    given: documents in memory to read in its place (see `in_memory`), a `DocumentData`, or
      what a run has kept of some.
    kind: of the rows: "copy" has words, "sequence" and "prompt" need a published tokenizer.

    Raises:
      InputError: no such data or column, more bad documents than allowed, or a tokenizer that
        cannot be read.
    """
    if isinstance(given, Metadata):
        return absent_documents(given)
    if isinstance(given, DocumentData):
        return given
    config.validate()
    dataset, findings = _checked(config, given)
    splits = _divided(config, dataset.name, findings.splits)
    rows, cut = _rows(config, splits, kind)
    if config.buckets > 1 and kind == PROMPT:
        raise InputError(
            f"buckets = {config.buckets}; expected 1 with a model of the next token, which has one"
            " shape"
        )
    if config.prefix and kind != SEQUENCE:
        raise InputError(f"prefix = {config.prefix!r}; expected none but with --model t5 or marian")
    cleaning = {name: value for name, value in findings.facts.items() if value}
    return DocumentData(
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        splits=splits,
        rows=rows,
        most_buckets=config.buckets,
        cleaning={**cleaning, "cut": cut} if cut else cleaning,
        skipped=findings.bad,
    )


def documents_elsewhere(data: DocumentData, config: DocumentConfig) -> DocumentData:
    """Loads the documents that a config names, whole splits of them, as more of `data`: with its
    tokens and lengths."""
    dataset, findings = _checked(config, None)
    splits = {split: _read(some) for split, some in findings.splits.items()}
    return DocumentData(
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        splits=splits,
        rows=data.rows,
        skipped=findings.bad,
    )


def _checked(config: DocumentConfig, given: Any) -> tuple[Dataset, Findings]:
    dataset = _opened(config, given)
    parts = parts_of(dataset)
    options = (_VERSION, config.longest, config.document_column, config.summary_column)
    digest = hashlib.sha256(repr(options).encode()).hexdigest()[:8]
    name = f"{dataset.name[:100]}-{dataset.version}-{dataset.fingerprint}-documents-{digest}"
    folder = kept(
        cache_folder("data") / name,
        lambda partial: examine(dataset.name, parts, config.longest, partial),
    )
    findings = load_findings(folder, parts)
    check_policy(dataset.name, findings.bad, config.skip_bad_records, folder, MENDS)
    if TRAIN not in findings.splits:
        raise InputError(f"data '{dataset.name}' has no good document to train on; expected some")
    return dataset, findings


def _opened(config: DocumentConfig, given: Any) -> Dataset:
    if given is not None:
        if not isinstance(given, Mapping):
            raise InputError(
                f"data is a {type(given).__name__}; expected {{'train': [(document, summary), ...],"
                " 'test': [...]}"
            )
        return in_memory(given)
    if config.data == NAME:
        return reports()
    wanted = Wanted(config.document_column, config.summary_column)
    path = Path(config.data).expanduser()
    if is_path(config.data) or path.is_file():
        return open_files(path, wanted)
    return open_tfds(config.data, config.data_dir, wanted, (NAME,))


def _divided(
    config: DocumentConfig, name: str, splits: Mapping[str, Selection]
) -> dict[str, Documents]:
    """Divides the training split where it has to make others, and reads all splits.

    Raises:
      InputError: a share of a split that is there, or too few documents to divide.
    """
    train = splits[TRAIN]
    hashes, left = train.known["hash"], np.ones(len(train), bool)
    found: dict[str, Documents] = {}
    shares = {VALIDATION: config.validation_fraction, TEST: config.test_fraction}
    for split, share in shares.items():
        if split in splits:
            if share:
                raise InputError(
                    f"{split}_fraction = {share}, but data '{name}' has this split; expected 0"
                )
            found[split] = _read(splits[split])
        elif share := _SHARE if share is None else share:
            chosen = left & held_out(hashes, np.zeros(len(train), np.int32), share, split)
            left = left & ~chosen
            if not left.any() or not chosen.any():
                raise InputError(
                    f"data '{name}' has {len(train):,} training documents, which are too few to"
                    " divide: expected more, or --validation-fraction 0 --test-fraction 0"
                )
            found[split] = _read(train, np.flatnonzero(chosen))
    others = {split: _read(some) for split, some in splits.items() if split not in (TRAIN, *found)}
    found |= others
    if most := config.evaluated:
        found = {
            split: Documents(some.sentences[:most], some.summaries[:most], some.keys[:most])
            for split, some in found.items()
        }
    return {TRAIN: _read(train, np.flatnonzero(left)), **found}


def _read(some: Selection, rows: np.ndarray | None = None) -> Documents:
    """Reads documents, and divides those that are one text into sentences."""
    numbers = list(range(len(some))) if rows is None else rows.tolist()
    documents, summaries = [], []
    for record in some.read(numbers):
        texts = [text.decode() for text in texts_in(record["document"])]
        clean = [" ".join(text.split()) for text in texts]
        is_whole = len(texts) == 1
        documents.append(
            tuple(split_sentences(texts[0]) if is_whole else [text for text in clean if text])
        )
        own = (text.decode() for text in texts_in(record["summaries"]))
        summaries.append(tuple(" ".join(text.split()) for text in own))
    return Documents(documents, summaries, [some.key(number) for number in numbers])


def _rows(
    config: DocumentConfig, splits: Mapping[str, Documents], kind: str
) -> tuple[Rows, dict[str, dict[str, int]]]:
    """Chooses the tokens and lengths of rows; counts what is longer."""
    train = splits[TRAIN]
    make = _rows_of(config, train, kind)
    free = make(0, 0)
    lengths = {
        split: free.lengths(*some.pairs(every=split == TRAIN)[:2]) for split, some in splits.items()
    }
    longest = [max(some) for some in lengths[TRAIN]]
    document = config.document_length or rounded_up(longest[0], _MULTIPLE, _MOST_DOCUMENT)
    summary = config.summary_length or rounded_up(longest[1], _MULTIPLE, _MOST_SUMMARY)
    cut = {
        split: {
            what: count
            for what, some, most in zip(("documents", "summaries"), found, (document, summary))
            if (count := int(np.sum(np.array(some) > most)))
        }
        for split, found in lengths.items()
    }
    return make(document, summary), {split: some for split, some in cut.items() if some}


def _rows_of(config: DocumentConfig, train: Documents, kind: str) -> Callable[[int, int], Rows]:
    """Makes what makes rows of the lengths of a document and of a summary."""
    own, name = config.tokenizer in ("", _WORDS), config.tokenizer
    if kind == COPY:
        if not own:
            raise InputError(f"tokenizer = {name}; expected {_WORDS} with this model")
        texts = ([text, *some] for text, some in zip(train.texts, train.summaries))
        words = copy_vocabulary(texts, config.vocabulary, config.rare, config.lower)
        return partial(CopyRows, words)
    if own:
        raise InputError(
            f"tokenizer = {name or 'none'}; expected --init-from with published weights and their"
            " tokenizer, or --tokenizer with a tokenizer.json"
        )
    tokenizer: Any = load_tokenizer(Path(name).expanduser())
    if kind == PROMPT:
        return partial(PromptRows, tokenizer)
    return partial(SequenceRows, PairRows.of(tokenizer, config.prefix))
