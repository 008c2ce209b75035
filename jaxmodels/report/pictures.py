"""The pictures of a run, put into the page itself."""

import base64
import re
import struct
from pathlib import Path
from typing import NamedTuple

from jaxmodels.report.html import Html, element

MOST_BYTES = 20_000_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STEP = re.compile(r"(.*?)-?step-(\d+)$|(.+)-(\d{4,})$")
_CAPTIONS = {
    "misclassified": "Most confidently wrong",
    "confusion": "Confusion matrix",
    "reconstructions": "Reconstructions",
    "interpolations": "Interpolations",
    "traversals": "Latent traversals",
    "latents": "Latents",
    "nearest": "Nearest training images",
    "classes": "Classes",
}
_WIDE = 900  # pixels from which a picture gets a row of its own


class Picture(NamedTuple):
    """A picture that fits."""

    name: str
    data: str
    width: int
    height: int


def pictures_of(paths: list[Path], skip: set[str], most: int = MOST_BYTES) -> Html | None:
    """All pictures but those in `skip` (names without .png): a series over steps as one viewer,
    the others one by one. What would make the page too large is named instead.

    most: bytes of files.
    """
    single = [path for path in paths if path.stem not in skip and not _STEP.match(path.stem)]
    single.sort(key=lambda path: (path.stem != "misclassified", path.stem))
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        if (found := _STEP.match(path.stem)) and path.stem not in skip:
            title, step = (found[1], found[2]) if found[2] else (found[3], found[4])
            numbered.setdefault(title, []).append((int(step), path))

    room, shown, left_out = most, {}, []
    queue = [*single, *(path for frames in numbered.values() for path in _by_interest(frames))]
    for path in queue:
        size = path.stat().st_size
        picture = _read(path) if size <= room else None
        if picture is None:
            left_out.append(path.name)
        else:
            shown[path] = picture
            room -= size

    viewers = []
    for title, frames in numbered.items():
        frames = [(step, shown[path]) for step, path in sorted(frames) if path in shown]
        if frames:
            viewers.append(_viewer(title or "samples", frames))
    boxes = [_box(shown[path]) for path in single if path in shown]
    if not (viewers or boxes or left_out):
        return None
    note = None
    if left_out:
        names = ", ".join(sorted(left_out)[:12]) + (", …" if len(left_out) > 12 else "")
        note = element(
            "p",
            f"Left out, being no PNG files or more than {most / 1e6:g} MB in all: {len(left_out)}"
            f" ({names}). They are in samples/.",
            class_="note",
        )
    return element("div", element("div", viewers, boxes, class_="pictures"), note)


def _by_interest(frames: list[tuple[int, Path]]) -> list[Path]:
    """The last frame, the first, then halfway between those taken, again and again."""
    paths = [path for _, path in sorted(frames)]
    order, gaps = [len(paths) - 1, 0], [(0, len(paths) - 1)]
    for low, high in gaps:
        middle = (low + high) // 2
        if low < middle:
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return [paths[index] for index in dict.fromkeys(order)]


def _read(path: Path) -> Picture | None:
    content = path.read_bytes()
    if not content.startswith(_SIGNATURE) or len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    return Picture(path.stem, base64.b64encode(content).decode(), width, height)


def _image(picture: Picture, text: str, **attributes: object) -> Html:
    size = {"width": picture.width, "height": picture.height}
    source = f"data:image/png;base64,{picture.data}"
    return element("img", src=source, alt=text, **size, **attributes)


def _box(picture: Picture) -> Html:
    caption = _CAPTIONS.get(picture.name, picture.name.replace("-", " ").replace("_", " "))
    shape = "picture wide" if picture.width >= _WIDE else "picture"
    frame = element("div", _image(picture, caption), class_="frame")
    return element("figure", element("figcaption", element("span", caption)), frame, class_=shape)


def _viewer(title: str, frames: list[tuple[int, Picture]]) -> Html:
    """One picture at a time with a slider through the steps; without a script, the last."""
    last = len(frames) - 1
    images = [
        _image(picture, f"{title} at step {step:,}", data_step=f"{step:,}", hidden=index < last)
        for index, (step, picture) in enumerate(frames)
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
    shape = "picture viewer wide" if frames[0][1].width >= _WIDE else "picture viewer"
    frame = element("div", images, class_="frame")
    return element("figure", caption, slider if last else None, frame, class_=shape)
