"""The sections of pictures, texts and sounds that a run wrote into samples/."""

import re
from collections.abc import Callable, Set
from pathlib import Path
from typing import NamedTuple

from jaxmodels.report.html import Html, element
from jaxmodels.report.layout import Section
from jaxmodels.report.media import Sample, read_picture, read_sound, read_text

MOST_BYTES = 20_000_000
_STEP = re.compile(r"(.*?)-?step-(\d+)$|(.+)-(\d{4,})$")
_MOST_NAMED = 12  # names of files in the note on those that are left out
_CAPTIONS = {
    "misclassified": "Most confidently wrong",
    "confusion": "Confusion matrix",
    "detections": "Worst pictures with true and predicted boxes",
    "precision_recall": "Precision by recall",
    "traversals": "Latent traversals",
    "nearest": "Nearest training images",
}


class Kind(NamedTuple):
    """A kind of samples, which has a section.

    read: reads a file; returns None if it is damaged or has more bytes than given.
    """

    title: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, int], Sample | None]


KINDS = (
    Kind("Pictures", (".png",), read_picture),
    Kind("Texts", (".txt", ".jsonl"), read_text),
    Kind("Sounds", (".wav",), read_sound),
)
Frames = list[tuple[int, Path]]  # (step, file) of a series


def samples_of(paths: list[Path], skip: Set[str], most: int = MOST_BYTES) -> list[Section]:
    """Makes a section for each kind of samples that has files.

    A series over steps has one viewer, and other samples have a box each. Files that would make the
    page too large are only named.

    skip: names of files that are not to be shown.
    most: bytes of files that the page may hold.
    """
    sections = []
    for kind in KINDS:
        files = [path for path in paths if path.suffix.lower() in kind.suffixes]
        files = [path for path in files if path.name not in skip]
        if files:
            content, used = _section_content(kind, files, most)
            most -= used
            sections.append(Section(kind.title.lower(), kind.title, content))
    return sections


def _section_content(kind: Kind, files: list[Path], most: int) -> tuple[list[Html | None], int]:
    """Makes the boxes of one kind and a note on what is left out; also counts the bytes used."""
    single, series = _in_series(files)
    by_interest = [path for frames in series.values() for path in _by_interest(frames)]
    shown = _read_within(kind, [*single, *by_interest], most)
    boxes = []
    for title, frames in series.items():
        fitting = [(step, shown[path]) for step, path in frames if path in shown]
        if fitting:
            boxes.append(_viewer(title or "samples", fitting))
    boxes += [_box(_caption(path), shown[path]) for path in single if path in shown]
    left_out = sorted(path.name for path in files if path not in shown)
    note = _left_out(left_out, most) if left_out else None
    used = sum(sample.size for sample in shown.values())
    return [element("div", boxes, class_="samples") if boxes else None, note], used


def _in_series(files: list[Path]) -> tuple[list[Path], dict[str, Frames]]:
    """Divides files into single ones and, by title, those whose names end in a step."""
    single: list[Path] = []
    numbered: dict[tuple[str, str], Frames] = {}
    for path in files:
        match = _STEP.match(path.stem)
        if match is None:
            single.append(path)
            continue
        title, step = (match[1], match[2]) if match[2] else (match[3], match[4])
        numbered.setdefault((title, path.suffix), []).append((int(step), path))
    single.sort(key=lambda path: (path.stem != "misclassified", _counted(path.stem), path.suffix))
    titles = [title for title, _ in numbered]
    series = {
        title if titles.count(title) == 1 else f"{title or 'samples'} ({suffix[1:]})": sorted(
            frames
        )
        for (title, suffix), frames in numbered.items()
    }
    return single, series


def _counted(name: str) -> list[tuple[int, str]]:
    """Makes a key that sorts numbers in names by their value: 2 stands before 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)]


def _by_interest(frames: Frames) -> list[Path]:
    """Orders a series: the last frame, the first, then the middles of ever smaller gaps."""
    paths = [path for _, path in frames]
    order, gaps = [len(paths) - 1, 0], [(0, len(paths) - 1)]
    for low, high in gaps:
        middle = (low + high) // 2
        if low < middle:
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return [paths[index] for index in dict.fromkeys(order)]


def _read_within(kind: Kind, files: list[Path], room: int) -> dict[Path, Sample]:
    """Reads the files that fit into the room, the earlier ones first."""
    shown = {}
    for path in files:
        try:
            sample = kind.read(path, room)
        except OSError:
            sample = None
        if sample is not None:
            shown[path] = sample
            room -= sample.size
    return shown


def _left_out(names: list[str], most: int) -> Html:
    """Names the files that are not in the page."""
    listed = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    return element(
        "p",
        f"Left out: {len(names)} ({listed}), which are damaged or would take more than the"
        f" {most / 1e6:.3g} MB that the page has for them. They are in samples/.",
        class_="note",
    )


def _caption(path: Path) -> str:
    """Makes the caption of a single sample from its name."""
    name = path.stem
    words = name.replace("-", " ").replace("_", " ")
    return _CAPTIONS.get(name, words[:1].upper() + words[1:])


def _box(caption: str, sample: Sample) -> Html:
    """Makes the box of a single sample."""
    frame = element("div", sample.draw(caption), class_="frame")
    shape = "sample wide" if sample.is_wide else "sample"
    return element("figure", element("figcaption", element("span", caption)), frame, class_=shape)


def _viewer(title: str, frames: list[tuple[int, Sample]]) -> Html:
    """Makes a box with a slider through the steps, which shows the last without a script."""
    last = len(frames) - 1
    drawn = [
        sample.draw(f"{title} at step {step:,}", data_step=f"{step:,}", hidden=index < last)
        for index, (step, sample) in enumerate(frames)
    ]
    slider = element(
        "input",
        type="range",
        min=0,
        max=last,
        value=last,
        step=1,
        aria_label=f"{title}: which step to show",
        autocomplete="off",
    )
    caption = element(
        "figcaption",
        element("span", f"{title[:1].upper()}{title[1:]} over training"),
        element("output", f"step {frames[-1][0]:,}"),
    )
    shape = "sample viewer wide" if frames[0][1].is_wide else "sample viewer"
    frame = element("div", drawn, class_="frame")
    return element("figure", caption, slider if last else None, frame, class_=shape)
