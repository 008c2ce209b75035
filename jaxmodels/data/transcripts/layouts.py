"""Where the text of each sound of a folder stands: LJSpeech's, LibriSpeech's and AN4's layouts, and
a .txt beside each sound."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jaxmodels.data.audio.folder import read_sound, sound_paths
from jaxmodels.data.audio.reading import EXTENSIONS
from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, Dataset, Record, evaluation_splits
from jaxmodels.data.transcripts.sphinx_lists import FILE_IDS, TEXTS, split_of_list, utterances
from jaxmodels.data.transcripts.split_names import split_of_speech
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError

_METADATA = "metadata.csv"  # of LJSpeech: name|text as read|text with numbers spelled out
_TRANSCRIPTS = ".trans.txt"  # of LibriSpeech: a line per utterance, its name first


class Transcribed(NamedTuple):
    """A sound and the bytes of its text, by their paths below the folder."""

    sound: str
    text: bytes


class TranscribedFiles:
    """`Records` of files: "sound", the encoded bytes, "file", the path, and "text"."""

    def __init__(self, folder: Path, files: Sequence[Transcribed]):
        self._folder, self._files = folder, files

    def __len__(self) -> int:
        return len(self._files)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads the files of these rows."""
        chosen = [self._files[row] for row in rows]
        return [
            {
                "sound": read_sound(self._folder / one.sound),
                "file": os.fsencode(one.sound),
                "text": one.text,
            }
            for one in chosen
        ]

    def key(self, row: int) -> str:
        """Returns the path below the folder, with slashes."""
        return self._files[row].sound


def open_folder(folder: Path) -> Dataset:
    """Opens a folder of sounds with texts.

    The texts stand in metadata.csv (LJSpeech), in *.trans.txt (LibriSpeech), in lists of Sphinx,
    whose names say the splits (AN4), or in a .txt beside each sound. Otherwise folders train,
    validation and test at the top, or LibriSpeech's train-clean-100, dev-clean, ..., are the
    splits; without them all is to train on. Sounds without a text are told on standard error and
    left out, texts without a sound are left out.

    Raises:
      InputError: no sounds, none with a text, a name that two of them have, or no training split.
    """
    walked = walk(folder)
    sounds = sound_paths(walked.files)
    if not sounds:
        kinds = ", ".join(f"*{ending}" for ending in EXTENSIONS)
        raise InputError(f"data '{folder}' has no sounds; expected {kinds}")
    metadata = [path for path in walked.files if path.rpartition("/")[2] == _METADATA]
    listed = [path for path in walked.files if path.endswith(_TRANSCRIPTS)]
    sphinx = [path for path in walked.files if path.endswith((TEXTS, FILE_IDS))]
    splits_of_sounds: dict[str, str] = {}
    named = _Named(folder, sounds)
    if metadata:
        texts = _of_metadata(folder, metadata, named)
    elif listed:
        texts = _of_lists(folder, listed, named)
    elif sphinx:
        texts, splits_of_sounds = _of_sphinx(folder, sphinx, named)
    else:
        texts = _beside(folder, set(walked.files), sounds)
    if not texts:
        raise InputError(
            f"data '{folder}' has {len(sounds):,} sounds and no text of one; expected NAME.txt"
            f" beside NAME.wav, LJSpeech's {_METADATA}, LibriSpeech's *{_TRANSCRIPTS} or AN4's"
            f" *_train{TEXTS}"
        )
    _tell_left_out(folder, sounds, texts)
    found: dict[str, list[Transcribed]] = {}
    for sound, text in texts.items():
        split = splits_of_sounds.get(sound) or _split_of(sound)
        found.setdefault(split, []).append(Transcribed(sound, text))
    if TRAIN not in found:
        raise InputError(f"data '{folder}' has only {', '.join(found)}; expected a folder train")
    real = Path(os.path.realpath(folder))
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", real.name).lstrip(".")
    files = {path: folder / path for path in [*texts, *metadata, *listed, *sphinx]}
    if not metadata and not listed and not sphinx:
        files |= {path: folder / path for path in map(_text_path, texts)}
    splits = {
        split: TranscribedFiles(real, tuple(found[split]))
        for split in [TRAIN, *evaluation_splits(found)]
    }
    return Dataset(name or "transcripts", "folder", fingerprint_of(name, files, folder), splits)


def _split_of(path: str) -> str:
    """Finds the split of a sound by the folders above it: the uppermost that names one; without
    one it is to train on."""
    return next(filter(None, map(split_of_speech, path.split("/")[:-1])), TRAIN)


class _Named:
    """Finds the sounds that lists of a folder name."""

    def __init__(self, folder: Path, sounds: Sequence[str]):
        self._folder = folder
        self._paths: dict[str, list[str]] = {}
        self._folders: set[PurePosixPath] = set()
        for path in sounds:
            self._paths.setdefault(_stem(path), []).append(path)
            self._folders.update(PurePosixPath(path).parents)

    def find(self, name: bytes, listed: str) -> str | None:
        """Returns the path of the sound of a name without ending, which may have folders in front:
        below the folder of the list, or anywhere if no sound is there. None: there is none.

        Raises:
          InputError: there are several.
        """
        text = name.decode("utf-8", "replace")
        found = self._paths.get(text.rpartition("/")[2], [])
        found = [path for path in found if f"/{_without_ending(path)}".endswith(f"/{text}")]
        folder = PurePosixPath(listed).parent
        if folder in self._folders:
            found = [path for path in found if folder in PurePosixPath(path).parents]
        if len(found) > 1:
            raise InputError(
                f"data '{self._folder}' has {len(found)} sounds that {listed} may mean by '{text}',"
                f" {found[0]} and {found[1]}; expected one: give other names, or each split a list"
                " in its own folder"
            )
        return found[0] if found else None


def _of_metadata(folder: Path, paths: Sequence[str], named: _Named) -> dict[str, bytes]:
    texts = {}
    for path in sorted(paths):
        for line in _lines(folder / path):
            name, *fields = line.split(b"|")
            sound = named.find(name, path)
            if sound and fields:
                # The last field has numbers and abbreviations as words.
                texts[sound] = fields[-1].strip() or fields[0].strip()
    return _in_order(texts)


def _of_lists(folder: Path, paths: Sequence[str], named: _Named) -> dict[str, bytes]:
    texts = {}
    for path in sorted(paths):
        for line in _lines(folder / path):
            name, _, text = line.partition(b" ")
            sound = named.find(name, path)
            if sound:
                texts[sound] = text.strip()
    return _in_order(texts)


def _of_sphinx(
    folder: Path, paths: Sequence[str], named: _Named
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Returns the texts of sounds and the splits that the names of their lists say."""
    texts, splits = {}, {}
    for path in sorted(path for path in paths if path.endswith(TEXTS)):
        split, ids = split_of_list(path), _without_ending(path) + FILE_IDS
        given = _lines(folder / ids) if ids in paths else None
        for name, text in utterances(path, _lines(folder / path), given):
            sound = named.find(name, path)
            if sound in texts:
                raise InputError(f"data '{folder}' lists {sound} twice, again in {path}")
            if sound:
                texts[sound], splits[sound] = text, split
    return _in_order(texts), splits


def _beside(folder: Path, files: set[str], sounds: Sequence[str]) -> dict[str, bytes]:
    texts = {}
    for sound in sounds:
        path = _text_path(sound)
        if path in files:
            texts[sound] = b" ".join(_content(folder / path).split())
    return texts


def _text_path(sound: str) -> str:
    return f"{_without_ending(sound)}.txt"


def _stem(path: str) -> str:
    return _without_ending(path).rpartition("/")[2]


def _without_ending(path: str) -> str:
    return path.rpartition(".")[0]


def _lines(path: Path) -> list[bytes]:
    return [line for line in _content(path).splitlines() if line.strip()]


def _content(path: Path) -> bytes:
    try:
        # Some editors write a mark of UTF-8 before the text.
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _in_order(texts: Mapping[str, bytes]) -> dict[str, bytes]:
    return {sound: texts[sound] for sound in sorted(texts)}


def _tell_left_out(folder: Path, sounds: Sequence[str], texts: Mapping[str, bytes]) -> None:
    lost = [sound for sound in sounds if sound not in texts]
    if lost:
        print(
            f"note: data '{folder}': {len(lost):,} sounds have no text and are left out, as"
            f" {lost[0]}",
            file=sys.stderr,
        )
