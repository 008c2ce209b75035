"""The scores as a run declared them. Nothing is guessed from the name of a score."""

from typing import Literal, NamedTuple, get_args

Better = Literal["lower", "higher"]
_OF_MONITOR: dict[object, Better] = {"min": "lower", "max": "higher"}


class Score(NamedTuple):
    """A score as config.json declares it.

    better: None where neither direction is better, or where none was recorded.
    """

    better: Better | None = None
    unit: str = ""
    meaning: str = ""


UNDECLARED = Score()


def declared_scores(record: dict) -> dict[str, Score]:
    """Reads the scores that a config.json declares.

    Runs of older versions declare none. There only the monitored score has a direction, that by
    which it chose the best checkpoint.
    """
    entries = record.get("scores")
    entries = entries if isinstance(entries, dict) else {}
    scores = {name: _score(entry) for name, entry in entries.items() if isinstance(entry, dict)}
    monitor = record.get("monitor")
    if isinstance(monitor, list) and len(monitor) == 2 and isinstance(monitor[0], str):
        name, direction = monitor
        score = scores.get(name, UNDECLARED)
        if score.better is None and isinstance(direction, str):
            scores[name] = score._replace(better=_OF_MONITOR.get(direction))
    return scores


def _score(entry: dict) -> Score:
    """Reads one declaration; a field that is damaged counts as not given."""
    better = entry.get("better")
    better = better if better in get_args(Better) else None
    texts = (entry.get(name) for name in ("unit", "meaning"))
    unit, meaning = (text if isinstance(text, str) else "" for text in texts)
    return Score(better, unit, meaning)


def direction(better: Better) -> str:
    """Formats a direction in words."""
    return f"{better} is better"
