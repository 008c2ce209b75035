"""Text by flags: what is read, how it becomes tokens, and how these get to the device."""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from jaxmodels.cache import cache_folder
from jaxmodels.data.checking import check_policy
from jaxmodels.data.dataset import TRAIN, Dataset, evaluation_splits
from jaxmodels.data.kept import kept
from jaxmodels.data.text.checking import Examined, examine, load_examined
from jaxmodels.data.text.choosing import choose_tokenizer, require_tokenizer
from jaxmodels.data.text.documents import DOCUMENTS, Documents, what_documents_are
from jaxmodels.data.text.packing import pack
from jaxmodels.data.text.pydoc import fingerprint_of_texts
from jaxmodels.data.text.records import texts_in_memory
from jaxmodels.data.text.splitting import fractions_of
from jaxmodels.data.text.stored import in_order_of_keys, open_text
from jaxmodels.data.text.text_data import TextData, absent_text
from jaxmodels.errors import InputError, require_known
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_VERSION = 1  # of what is kept in the cache of a text
_MENDS = {
    "undecodable": "iconv -f latin1 -t utf-8 FILE converts a file of another encoding",
    "duplicate": "A text that is trained on scores too well",
}


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Which text, its tokens and the windows of them that a model sees."""

    data: str = "pydoc"
    """Text: pydoc (the help of this Python, 400 kB), a tfds data set with a text feature, a text
    file as ./book.txt, or a folder of them (with folders or files train, validation, test)."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    documents: Documents = "auto"
    """A document: whole: each record, file or topic; line, paragraph: each in these; joined: all of
    a split, whose records are lines; auto: joined for WikiText and the like, else whole."""
    validation_fraction: float | None = None
    """Share of the training text to validate with, where there is no validation split; None: 0.05;
    0: none."""
    test_fraction: float | None = None
    """Share of the training text to test with, where there is no test split; None: 0.05; 0:
    none."""
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most documents that may be bad (unreadable, no UTF-8, in two splits) and are left out; more
    are an error that lists them."""
    drop_repeated: bool = False
    """Leave out training documents that repeat an earlier one or hold a passage of a validation or
    test split; otherwise they are counted."""
    tokenizer: str = "bytes"
    """bytes, chars, bpe (trained on the training split), words (of a corpus that has fixed its
    words, as WikiText), or a path to a published tokenizer.json, its folder or a GGUF file."""
    vocabulary: int = 8192
    """Tokens of --tokenizer bpe."""
    context: int = 256
    """Tokens that the model sees at once."""
    stride: int = 0
    """Tokens that each window of an evaluation scores, with context - stride before them; 0: as
    many as the context, which is fastest and scores worst."""
    windows: Literal["random", "contiguous"] = "random"
    """random: training windows in a new order and from a new offset in each epoch; contiguous: each
    row of a batch goes on where it stopped, for models that carry their state."""
    loading: Annotated[Literal["auto", "resident", "streamed"], Role.HOW] = "auto"
    """resident: all tokens lie on the device; streamed: windows are read from the disk while it
    works; auto: resident where they fit into half of its memory."""

    def validate(self) -> None:
        """Raises InputError for values out of range."""
        require_known("documents", self.documents, DOCUMENTS)
        require_known("windows", self.windows, ("random", "contiguous"))
        require_known("loading", self.loading, ("auto", "resident", "streamed"))
        require_tokenizer(self.tokenizer, self.vocabulary)
        for field, least in (("skip_bad_records", 0), ("context", 1), ("stride", 0)):
            value = getattr(self, field)
            if value < least:
                raise InputError(f"{field} = {value}; expected at least {least}")
        if self.stride > self.context:
            raise InputError(
                f"stride = {self.stride}; expected at most context = {self.context}, or 0 for as"
                " many"
            )
        fractions_of(self.data, {}, self.validation_fraction, self.test_fraction)


class Prepared(NamedTuple):
    """Text that was checked and divided."""

    dataset: Dataset
    documents: Documents
    fractions: dict[str, float]
    folder: Path  # where all that is made of it is kept
    examined: Examined


def load_text(config: TextConfig, given: object = None) -> TextData:
    """Loads the text that a config describes. What is made of it is kept in the cache, so that only
    the first call reads the text.

    given: text to return in its place, from `text_from_strings` with the same config, or what a run
      has kept of some.

    Raises:
      InputError: an unknown name, data that is no text or too short, more bad records than allowed,
        a tokenizer that cannot be made or read, or what is given is no text.
    """
    if isinstance(given, Metadata):
        return absent_text(given)
    if isinstance(given, TextData):
        return given
    if given is not None:
        raise InputError(
            f"data is a {type(given).__name__}; expected text_from_strings({{'train': [...],"
            " 'test': [...]}, config)"
        )
    config.validate()
    return _loaded(open_text(config.data, config.data_dir), config)


def text_from_strings(
    splits: Mapping[str, Iterable[str]], config: TextConfig | None = None, name: str = "texts"
) -> TextData:
    """Makes text data of strings in memory: {"train": ["a document", ...], "test": ...}. One string
    in place of a list is one document.

    config: how they become windows of tokens; its `data` and `data_dir` do not count.

    Raises:
      InputError: as `load_text`; no training split, or documents that are no strings.
    """
    config = config or TextConfig()
    config.validate()
    if TRAIN not in splits:
        raise InputError(
            f"data '{name}' has no training split; expected '{TRAIN}'. Found:"
            f" {', '.join(splits) or 'none'}"
        )
    texts = {
        split: _encoded(f"{name}/{split}", splits[split])
        for split in [TRAIN, *evaluation_splits(splits)]
    }
    records = {split: texts_in_memory(some) for split, some in texts.items()}
    return _loaded(Dataset(name, "strings", fingerprint_of_texts(texts), records), config)


def _encoded(where: str, texts: Iterable[str]) -> list[bytes]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"data '{where}' has a {type(text).__name__} as document {number}; expected strings"
            )
    if not texts:
        raise InputError(f"data '{where}' has no document; expected one or more")
    # Half a surrogate pair is then found to be no UTF-8, as in a file.
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def prepare(dataset: Dataset, config: TextConfig) -> Prepared:
    """Checks and divides the text of a data set, unless the cache has the result.

    Raises:
      InputError: more bad records than allowed, or no text to train on.
    """
    documents = what_documents_are(dataset.splits[TRAIN], config.documents)  # pyright: ignore
    fractions = fractions_of(
        dataset.name, dataset.splits, config.validation_fraction, config.test_fraction
    )
    folder = _folder(dataset, documents, fractions, config.drop_repeated)

    def make(partial: Path) -> None:
        splits: dict[str, Any] = dict(dataset.splits)
        if documents == "joined":
            splits = in_order_of_keys(dataset)
        examine(dataset.name, splits, documents, fractions, config.drop_repeated, partial)

    entry = kept(folder / "text", make, trusted=True)
    examined = load_examined(entry)
    check_policy(dataset.name, examined.bad, config.skip_bad_records, entry, _MENDS)
    _tell_of_passages(dataset.name, examined, config.drop_repeated)
    for split in (TRAIN, *dataset.splits):
        if split not in examined.texts:
            which = "training" if split == TRAIN else split
            raise InputError(
                f"data '{dataset.name}' has no text in its {which} split; expected some"
            )
    return Prepared(dataset, documents, fractions, folder, examined)


def _tell_of_passages(name: str, examined: Examined, dropped: bool) -> None:
    """Notes that more than a hundredth of an evaluation split is in the training text."""
    for split, found in examined.cleaning.get("passages", {}).items():
        if 100 * found["in_train"] > found["of"] and not dropped:
            print(
                f"note: of {found['of']:,} passages of {name}/{split} the training text has"
                f" {found['in_train']:,}, in {found['train_documents']:,} documents;"
                " --drop-repeated leaves these out",
                file=sys.stderr,
            )


def _loaded(dataset: Dataset, config: TextConfig) -> TextData:
    dataset, documents, fractions, folder, examined = prepare(dataset, config)
    tokenizer = choose_tokenizer(
        dataset.name, examined.texts, config.tokenizer, config.vocabulary, folder
    )
    columns = pack(
        dataset.name, examined.texts, tokenizer, folder / f"tokens-{tokenizer.fingerprint}"
    )
    return TextData(
        name=dataset.name,
        version=dataset.version,
        fingerprint=dataset.fingerprint,
        tokenizer=tokenizer,
        columns=columns,
        counts=examined.counts,
        documents=documents,
        divided=examined.divided,
        fractions=fractions,
        cleaning=examined.cleaning,
        skipped=examined.bad,
        defines_words=examined.defines_words,
        context=config.context,
        stride=config.stride or config.context,
        windows=config.windows,
        loading=config.loading,
    )


def _folder(
    dataset: Dataset, documents: str, fractions: Mapping[str, float], drop_repeated: bool
) -> Path:
    """Returns the folder of what is made of a text, which depends on all of these."""
    options = repr((_VERSION, documents, sorted(fractions.items()), drop_repeated))
    digest = hashlib.sha256(options.encode()).hexdigest()[:8]
    name = f"{dataset.name[:100]}-{dataset.version}-{dataset.fingerprint}-{documents}-{digest}"
    return cache_folder("data") / name
