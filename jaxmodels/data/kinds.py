"""What kind of data lies somewhere, by its files or features, and which experiments read it."""

import importlib.util
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

_ENDINGS = {
    "sound": (".wav", ".flac", ".mp3", ".ogg", ".sph", ".opus", ".m4a", ".aac", ".aiff"),
    "images": (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    "tables": (".csv", ".tsv", ".parquet", ".pq"),
    "text": (".txt", ".text", ".md", ".json", ".jsonl", ".xml"),
    "video": (".mp4", ".avi", ".mov", ".mkv", ".webm"),
}
_EXPERIMENTS = {
    "images": ("classifier", "gan", "vae"),
    "boxes": ("detection",),
    "tables": ("table",),
    "sound": ("speech_commands", "speech_recognition", "speech_synthesis", "vocoder"),
    "text": (
        "language_model",
        "sentiment",
        "token_classification",
        "translation",
        "summarization",
    ),
    "video": (),
}
_TEXTS = ("pydoc", "opinions", "notes", "dates", "reports")
_SOUNDS = ("tones", "clear_tones", "dialled_keys", "connected_digits")
_TABLES = ("breast_cancer", "diabetes", "iris", "wine")
_EMBEDDED = {"digits": "images"} | dict.fromkeys(_TEXTS, "text") | dict.fromkeys(_SOUNDS, "sound")
_EMBEDDED |= dict.fromkeys(_TABLES, "tables")


def count_endings(paths: Iterable[str]) -> Counter[str]:
    """Counts the files of each ending, in small letters; "" stands for files without one."""
    return Counter(PurePosixPath(path).suffix.lower() for path in paths)


def told_endings(counts: Counter[str]) -> str:
    """Lists endings by their counts: "8 files ending in .tif, 1 in .heic"."""
    told = [
        f"{count:,} {f'in {ending}' if ending else 'without an ending'}"
        for ending, count in counts.most_common()
    ]
    number, _, rest = ", ".join(told).partition(" ")
    files = "file" if number == "1" else "files"
    return f"{number} {files} {'ending ' if rest.startswith('in') else ''}{rest}"


def kind_of_files(counts: Counter[str]) -> str | None:
    """Returns the kind of most files of a known ending; None without such files."""
    kinds = Counter()
    for kind, endings in _ENDINGS.items():
        kinds[kind] = sum(counts[ending] for ending in endings)
    [(kind, count)] = kinds.most_common(1)
    return kind if count else None


def told_other_kind(paths: Iterable[str], own: Sequence[str]) -> str:
    """Says what files are instead and what reads them: ". It has 8 files ending in .wav: sound is
    read by ..."; empty where they are of one of the kinds `own`, or of no known kind."""
    counts = count_endings(paths)
    kind = kind_of_files(counts)
    if kind is None or kind in own:
        return ""
    return f". It has {told_endings(counts)}: {readers_of(kind)}"


def kind_of_embedded(name: str) -> str | None:
    """Returns the kind of data that comes with the project or Python under this name; else None."""
    return _EMBEDDED.get(name)


def readers_of(kind: str) -> str:
    """Says which experiments of this project read a kind of data."""
    names = [name for name in _EXPERIMENTS[kind] if _is_there(f"experiments.{name}")]
    if names:
        verb, others = "are" if kind.endswith("s") else "is", ", ".join(names[1:])
        also = f" (also {others})" if others else ""
        return f"{kind} {verb} read by python -m experiments.{names[0]}{also}"
    return f"no experiment here reads {kind}"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
