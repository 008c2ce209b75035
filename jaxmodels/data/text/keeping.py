"""Tokenizers of published weights, kept where a run finds them without the weights."""

from pathlib import Path

from jaxmodels.cache import TOKENIZERS, cache_folder
from jaxmodels.data.text.bpe import PublishedTokenizer
from jaxmodels.data.text.sentencepieces import is_sentencepiece
from jaxmodels.data.text.tokenizers import FILE, hash_of, load_tokenizer

_PAD = "pad_token"


def keep_tokenizer(weights: Path, padding: int | None = None) -> str | None:
    """Writes the tokenizer of a GGUF file, or the tokenizer.json or the models of sentencepiece
    beside weights, into the cache, in a folder named by its content; returns the folder, or None
    where there is none.

    padding: the token that the weights call padding, for a tokenizer.json that names none.

    Raises:
      InputError: a tokenizer that cannot be read.
    """
    folder = weights if weights.is_dir() else weights.parent
    path = weights if weights.suffix == ".gguf" else folder / FILE
    if not path.is_file():
        if not is_sentencepiece(folder):
            return None
        path = folder
    tokenizer = load_tokenizer(path)
    config = getattr(tokenizer, "config", {})
    if padding is not None and isinstance(tokenizer, PublishedTokenizer) and not config.get(_PAD):
        config[_PAD] = tokenizer.word(padding)
    name = hash_of(f"{tokenizer.fingerprint} {sorted(config.items())!r}")
    folder = cache_folder(TOKENIZERS) / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    return str(folder)
