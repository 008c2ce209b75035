"""The lists of CMU Sphinx, as AN4's: etc/an4_train.transcription, with a line "<s> YES </s>
(an251-fash-b)" for each sound, and etc/an4_train.fileids, with the paths of the sounds in that
order."""

import re
from collections.abc import Sequence

from jaxmodels.data.transcripts.split_names import split_of_speech
from jaxmodels.errors import InputError

TEXTS, FILE_IDS = ".transcription", ".fileids"
_UTTERANCE = re.compile(rb"(.*?)\s*\(([^()]*)\)\s*")
_NOT_SAID = re.compile(rb"</?s>|<sil>|\+\+.*\+\+")


def split_of_list(path: str) -> str:
    """Returns the split that the name of a list says: that of an4_train.transcription.

    Raises:
      InputError: it says none.
    """
    split = split_of_speech(path.removesuffix(TEXTS).rpartition("_")[2])
    if split is None:
        raise InputError(
            f"{path} is the list of no split; expected NAME_train{TEXTS}, NAME_test{TEXTS}"
        )
    return split


def utterances(
    path: str, lines: Sequence[bytes], ids: Sequence[bytes] | None
) -> list[tuple[bytes, bytes]]:
    """Returns the name and the text of each line of a list; names are those of the file ids, which
    have folders in front, where there are some.

    Raises:
      InputError: file ids of other sounds.
    """
    found = []
    for line in lines:
        match = _UTTERANCE.fullmatch(line)
        said, name = match.groups() if match else (line, b"")
        words = [word for word in said.split() if not _NOT_SAID.fullmatch(word)]
        found.append((name, b" ".join(words)))
    if ids is None:
        return [(name, text) for name, text in found if name]
    if len(ids) != len(found):
        raise InputError(
            f"{path} has {len(found)} lines and its {FILE_IDS} {len(ids)}; expected as many"
        )
    paired = []
    for id_, (name, text) in zip(ids, found):
        path_of_sound = id_.strip()
        if name and _last(path_of_sound) != _last(name):
            said = _last(name).decode("utf-8", "replace")
            raise InputError(
                f"{path} has {said} where its {FILE_IDS} have"
                f" {path_of_sound.decode('utf-8', 'replace')}; expected the same order"
            )
        paired.append((path_of_sound, text))
    return paired


def _last(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]
