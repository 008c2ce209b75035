"""Draw the boxes of predictions into the pictures.

    python -m experiments.detection --workdir RUN --mode predict --input ./new --output new.jsonl
    python -m experiments.draw_detections new.jsonl ./new ./drawn --least 0.4

Each picture of ./new that has a line in new.jsonl becomes a PNG of the same name in ./drawn, with
the boxes that score at least 0.4.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from jaxtyping import UInt8

from jaxmodels.data.boxes.records import pixels_of
from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.images.decoding import opencv
from jaxmodels.data.images.folder import read_picture
from jaxmodels.errors import InputError
from jaxmodels.files import write_atomically

# Red, green and blue of the classes, in turn.
_PALETTE = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0))
_PALETTE += ((86, 180, 233), (240, 228, 66), (120, 80, 200), (90, 90, 90), (150, 75, 0))


@dataclass(frozen=True)
class Drawing:
    """Which boxes are drawn, and where."""

    predictions: Annotated[Path, tyro.conf.Positional]
    """The file .jsonl of --mode predict."""
    pictures: Annotated[Path, tyro.conf.Positional]
    """The picture or the folder that was predicted for."""
    output: Annotated[Path, tyro.conf.Positional]
    """Folder of the drawn pictures; it is made."""
    least: float = 0.3
    """Score of the boxes that are drawn, at least."""


def draw_boxes(
    pixels: UInt8[np.ndarray, "height width 3"], line: dict[str, Any], least: float, names: list
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws the boxes of a line of predictions that score at least `least`, the surest on top.

    names: of the classes, in the order of their colours; new ones are added.
    """
    cv2 = opencv()
    drawn = np.ascontiguousarray(pixels).copy()
    thick = max(1, round(max(pixels.shape) / 400))
    size = max(0.35, max(pixels.shape) / 1600)
    for box, name, score in reversed(list(zip(line["boxes"], line["labels"], line["scores"]))):
        if score < least:
            continue
        if name not in names:
            names.append(name)
        colour = _PALETTE[names.index(name) % len(_PALETTE)]
        x0, y0, x1, y1 = (round(edge) for edge in box)
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), colour, thick)
        text = f"{name} {score:.2f}"
        (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
        top = max(y0 - height - below, 0)
        cv2.rectangle(drawn, (x0, top), (x0 + width, top + height + below), colour, -1)
        place = x0, top + height + below // 2
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), thick)
    return drawn


def draw_all(drawing: Drawing) -> int:
    """Draws all pictures; returns how many.

    Raises:
      InputError: no such file or folder, or a line that is none of predictions.
    """
    names: list[str] = []
    count = 0
    for number, text in enumerate(_lines(drawing.predictions), 1):
        try:
            line = json.loads(text)
            name, _ = line["input"], line.get("error") or (line["boxes"], line["labels"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{drawing.predictions}, line {number}, is no line of predictions; expected the"
                " file that --mode predict of experiments.detection writes"
            ) from None
        if "error" in line:
            continue
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(
                f"{drawing.predictions}, line {number}: input '{name}' lies outside of the folder;"
                " expected a path below it"
            )
        is_folder = drawing.pictures.is_dir()
        path = drawing.pictures / name if is_folder else drawing.pictures
        try:
            pixels = pixels_of(read_picture(path))
        except BadRecord as error:
            print(f"note: {path} {error}; it is left out", file=sys.stderr)
            continue
        _write(drawing.output / f"{name}.png", draw_boxes(pixels, line, drawing.least, names))
        count += 1
    return count


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; expected a file .jsonl") from None


def _write(path: Path, pixels: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be made: {error.strerror}") from None
    encoded = opencv().imencode(".png", pixels[..., ::-1])[1].tobytes()
    write_atomically(path, lambda file: file.write(encoded))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    try:
        count = draw_all(tyro.cli(Drawing, args=arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"drew {count:,} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
