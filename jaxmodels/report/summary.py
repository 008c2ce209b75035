"""The summary of a run: what it reached, how to make it again, its last scores."""

import shlex

from jaxmodels.report.html import Html, element, field, number, plain_number, table
from jaxmodels.report.run import Run
from jaxmodels.report.scores import direction


def summary_of(run: Run) -> list[Html | None]:
    """Numbers at a glance, the command, the table of scores."""
    return [_tiles(run), _command(run), _scores(run)]


def _tiles(run: Run) -> Html:
    tiles = []
    if run.monitor and run.judged:
        name, lower = run.monitor
        last = run.last(run.judged)
        note = f"step {last['step']:,}, {direction(lower)}"
        tiles.append((f"{run.judged} {name}", number(last.get(name)), note))
        if best := run.best_validation():
            note = f"step {best['step']:,}, the best checkpoint"
            tiles.append((f"best validation {name}", number(best[name]), note))
    steps, batch = run.config.get("steps"), run.config.get("batch_size")
    of = f"of {steps:,}" if isinstance(steps, int) and steps > run.step else "all"
    note = of + (f", batches of {batch:,}" if isinstance(batch, int) else "")
    tiles.append(("steps", f"{run.step:,}", note))
    if run.seconds is not None:
        note = "without compiling, evaluating and saving"
        tiles.append(("training time", duration(run.seconds), note))
        examples = [line.get("examples_per_second") for line in run.speed]
        known = sorted(value for value in examples if value is not None)
        note = f"{known[len(known) // 2]:,.0f} examples per second" if known else "median"
        tiles.append(("steps per second", plain_number(run.steps_per_second, 4), note))
    tiles.append(("device", *device_of(run)))
    return element(
        "dl",
        [
            element(
                "div",
                element("dt", label),
                element("dd", value),
                element("dd", note, class_="note"),
                class_="tile text" if label == "device" else "tile",
            )
            for label, value, note in tiles
        ],
        class_="tiles",
    )


def _command(run: Run) -> Html:
    command = run.record.get("command")
    if not isinstance(command, str):
        text = "This run was recorded before commands were; its flags are under Config."
        return element("p", text, class_="note")
    parts = [element("span", part) for part in _by_flag(command)]
    spaced = [piece for part in parts for piece in (part, " ")][:-1]
    button = element("button", "Copy", type="button", class_="tool", data_copy="command")
    code = element("pre", element("code", spaced, id="command"), tabindex="0")
    return element(
        "div",
        element("h3", "To reproduce"),
        element("div", code, button, class_="command"),
        element("p", f"at commit {_commit(run)}", class_="note"),
    )


def _by_flag(command: str) -> list[str]:
    """The command in parts that a line is best broken between: each flag with its values."""
    try:
        words = shlex.split(command)
    except ValueError:
        return [command]
    parts: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--") and parts[-1]:
            parts.append([])
        parts[-1].append(word)
    written = [shlex.join(part) for part in parts]
    return written if " ".join(written) == command else [command]


def _commit(run: Run) -> str:
    commit = run.environment.get("git_commit")
    if not isinstance(commit, str) or not commit:
        return "unknown"
    return commit[:12] + (", with edits that are not in it" if commit.endswith("+") else "")


def _scores(run: Run) -> Html | None:
    """The last scores of each split, and those of the step that validation chose."""
    columns = []
    for split in reversed(run.splits):
        columns.append((split, run.last(split)))
        if split == "validation" and (best := run.best_validation()):
            columns.append(("best validation", best))
    names = list(
        dict.fromkeys(n for _, line in columns for n in line if n not in ("step", "split"))
    )
    if not names:
        return None
    if run.monitor:
        names.sort(key=lambda name: name != run.monitor[0])
    header = [
        "last scores",
        *(
            element("th", name, element("small", f"step {line['step']:,}"), scope="col")
            for name, line in columns
        ),
    ]
    rows = [
        [field(name), *(number(line[name]) if name in line else "–" for _, line in columns)]
        for name in names
    ]
    return table(header, rows, "last scores")


def duration(seconds: float) -> str:
    """Seconds as a person says them: 12.3 s, 4 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def device_of(run: Run) -> tuple[str, str]:
    """Count and kind of the devices, and what ran on them."""
    known = run.environment
    kind = f"{known.get('device_count', '?')} × {known.get('device_kind', 'unknown')}"
    packages = known.get("packages")
    version = packages.get("jax", "unknown") if isinstance(packages, dict) else "unknown"
    return kind, f"jax {version}, {known.get('threads', '?')} threads"
