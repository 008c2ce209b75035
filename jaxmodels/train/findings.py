"""The findings of an evaluation, as files of the run folder."""

import sys
from collections.abc import Mapping
from pathlib import Path

from jaxmodels.files import write_atomically
from jaxmodels.train.experiment import Findings
from jaxmodels.train.hosts import is_first
from jaxmodels.train.run_folder import RunFolder


def write_findings(folder: RunFolder, found: Mapping[str, Findings], best: str | None) -> None:
    """Writes records, pictures, texts and sounds of the splits that were evaluated at one step, in
    the first process.

    best: the split whose record is also that of the best checkpoint, if any. A picture that fails
    is noted on standard error and left out: a run matters more than its pictures.
    """
    if not is_first():
        return
    records = {split: dict(f.record) for split, f in found.items() if f.record is not None}
    if records:
        if best in records:
            records["best"] = records[best]
        folder.write_reports(records)
    for findings in found.values():
        for name, text in findings.texts.items():
            _write(folder.own(name), None if text is None else text.encode("utf-8", "replace"))
        for name, sound in findings.sounds.items():
            _write(folder.own(f"{name}.wav"), sound)
        for name, draw in findings.pictures.items():
            _draw(folder.own(f"{name}.png"), draw)


def joined(first: Findings, second: Findings) -> Findings:
    """Joins findings of one state; what both have is the second's."""
    return Findings(
        scores={**first.scores, **second.scores},
        record=first.record if second.record is None else second.record,
        pictures={**first.pictures, **second.pictures},
        texts={**first.texts, **second.texts},
        sounds={**first.sounds, **second.sounds},
    )


def _write(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, lambda file: file.write(content))


def _draw(path: Path, draw) -> None:
    try:
        if draw is None:
            path.unlink(missing_ok=True)
        else:
            from jaxmodels.pictures import save_figure

            save_figure(draw(), path)
    except Exception as error:
        print(f"note: picture {path.name} could not be drawn: {error!r}", file=sys.stderr)
