"""Text as data: by name, from files or strings; checked, divided, encoded, packed, in windows."""

from jaxmodels.data.text.bpe import PublishedTokenizer, train_bpe
from jaxmodels.data.text.checking import Counts
from jaxmodels.data.text.loading import TextConfig, load_text, text_from_strings
from jaxmodels.data.text.packing import TokenColumn
from jaxmodels.data.text.sources import ResidentWindows, StreamedWindows, WindowSource
from jaxmodels.data.text.stored import open_text
from jaxmodels.data.text.text_data import TextData
from jaxmodels.data.text.tokenizers import Bytes, Characters, Tokenizer, Words, load_tokenizer
from jaxmodels.data.text.windows import ContiguousWindows, RandomWindows, SlidingWindows

__all__ = [
    "Bytes",
    "Characters",
    "ContiguousWindows",
    "Counts",
    "PublishedTokenizer",
    "RandomWindows",
    "ResidentWindows",
    "SlidingWindows",
    "StreamedWindows",
    "TextConfig",
    "TextData",
    "TokenColumn",
    "Tokenizer",
    "WindowSource",
    "Words",
    "load_text",
    "load_tokenizer",
    "open_text",
    "text_from_strings",
    "train_bpe",
]
