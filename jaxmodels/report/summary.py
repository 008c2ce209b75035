"""The summary of a run: what it reached, how to make it again, its last scores."""

import shlex

from jaxmodels.report.html import Html, cell_of, element, field, number, plain_number, table
from jaxmodels.report.layout import Tile, command, tiles
from jaxmodels.report.run import Run
from jaxmodels.report.scores import Score, direction


def summary_of(run: Run) -> list[Html | None]:
    """Shows numbers at a glance, the command and the table of scores."""
    return [_tiles(run), _meaning(run), _unscored(run), _command(run), _scores(run)]


def _unscored(run: Run) -> Html | None:
    """Says that a run without validation and test shows nothing of examples that it has not seen.

    A run that has other splits, which no evaluation has reached yet, says nothing.
    """
    is_over = run.status[0] == "finished" and run.splits
    if not is_over or set(run.splits) != {"train"}:
        return None
    text = "The data have no validation or test split, so all scores are of training examples."
    return element("p", text, class_="note")


def _meaning(run: Run) -> Html | None:
    """Says what the score that matters most means."""
    meaning = run.declared(run.monitor).meaning if run.monitor else ""
    return element("p", f"{run.monitor}: {meaning}", class_="note") if meaning else None


def _tiles(run: Run) -> Html:
    """Shows the numbers at a glance."""
    made = [*_tiles_of_monitor(run), *_tiles_of_training(run), ("device", *device_of(run))]
    return tiles(made, {"device", "training time"})


def _tiles_of_monitor(run: Run) -> list[Tile]:
    """Makes the tiles of the score that matters most."""
    name = run.monitor
    last = run.last(run.judged) if run.judged else None
    if name is None or last is None:
        return []
    declared = run.declared(name)
    unit = element("small", f" {declared.unit}") if declared.unit else None
    note = f"step {last['step']:,}"
    if declared.better:
        note += f", {direction(declared.better)}"
    made: list[Tile] = [(f"{run.judged} {name}", [number(last.get(name), 4), unit], note)]
    if best := run.best_validation():
        note = f"step {best['step']:,}, the best checkpoint"
        made.append((f"best validation {name}", [number(best[name], 4), unit], note))
    if run.best_step not in (None, last["step"]) and name in run.best_scores:
        note = f"step {run.best_step:,}, which validation chose"
        value = [number(run.best_scores[name], 4), unit]
        made.append((f"test {name} at the best checkpoint", value, note))
    return made


def _tiles_of_training(run: Run) -> list[Tile]:
    """Makes the tiles of how far and how fast the run has come."""
    steps, batch = run.config.get("steps"), run.config.get("batch_size")
    of = f"of {steps:,}" if isinstance(steps, int) and steps > run.step else "all"
    note = of + (f", batches of {batch:,}" if isinstance(batch, int) else "")
    made: list[Tile] = [("steps", f"{run.step:,}", note)]
    if run.seconds is not None and run.steps_per_second is not None:
        note = "without compiling, evaluating and saving"
        made.append(("training time", duration(run.seconds), note))
        examples = run.examples_per_second
        note = "median" if examples is None else f"{examples:,.0f} examples per second"
        made.append(("steps per second", plain_number(run.steps_per_second, 4), note))
    return made


def _command(run: Run) -> Html:
    """Shows the command that makes the run again."""
    recorded, directory = run.record.get("command"), run.record.get("directory")
    if not isinstance(recorded, str):
        text = "This run was recorded before commands were; its flags are under Config."
        return element("p", text, class_="note")
    first = ""
    if isinstance(directory, str) and directory and recorded.startswith("python "):
        # A module is found, and a path means the same, from the folder where the run began.
        first = f"cd {shlex.quote(directory)} &&"
    return command("To reproduce", recorded, f"at commit {_commit(run)}", first)


def _commit(run: Run) -> str:
    """Says which commit the run was made from."""
    commit = run.environment.get("git_commit")
    if not isinstance(commit, str) or not commit:
        return "unknown"
    return commit[:12] + (", with edits that are not in it" if commit.endswith("+") else "")


def _scores(run: Run) -> Html | None:
    """Shows the last scores of each split, and those of the step that validation chose, if that is
    another one."""
    columns = []
    for split in reversed(run.splits):
        last = run.last(split)
        columns.append((split, last))
        # Where the last step is the best one, its scores stand there already.
        if split == "test" and run.best_scores and run.best_step not in (None, last["step"]):
            columns.append(("test, best checkpoint", {"step": run.best_step} | run.best_scores))
        best = run.best_validation() if split == "validation" else None
        if best and best["step"] != last["step"]:
            columns.append(("best validation", best))
    names = list(
        dict.fromkeys(n for _, line in columns for n in line if n not in ("step", "split"))
    )
    if not names:
        return None
    if run.monitor:
        names.sort(key=lambda name: name != run.monitor)
    header = [
        "last scores",
        *(
            element("th", name, element("small", f"step {line['step']:,}"), scope="col")
            for name, line in columns
        ),
    ]
    rows = [
        [
            _name_of_score(name, run.declared(name)),
            *(_cell_of_score(line.get(name, "–"), column) for column, line in columns),
        ]
        for name in names
    ]
    return table(header, rows, "last scores", class_="scores cards")


def _cell_of_score(value: float | str | None, column: str) -> Html:
    if isinstance(value, str):
        return element("td", value, class_="number none", data_label=column)
    return element("td", number(value), class_="number", data_label=column)


def _name_of_score(name: str, declared: Score) -> Html:
    """Makes the first cell of a row: the name with its unit, and below them the meaning."""
    unit = element("small", f" {declared.unit}", class_="unit") if declared.unit else None
    meaning = element("small", declared.meaning, class_="meaning") if declared.meaning else None
    title = declared.meaning or None
    return cell_of([field(name), unit, meaning], "th", scope="row", title=title)


def duration(seconds: float) -> str:
    """Writes seconds as a person says them: 12.3 s, 4 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def device_of(run: Run) -> tuple[str, str]:
    """Names the devices and what ran on them."""
    known = run.environment
    kind = f"{known.get('device_count', '?')} × {known.get('device_kind', 'unknown')}"
    packages = known.get("packages")
    version = packages.get("jax", "unknown") if isinstance(packages, dict) else "unknown"
    return kind, f"jax {version}, {known.get('threads', '?')} threads"
