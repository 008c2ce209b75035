"""The list of experiments and commands: python -m jaxmodels."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxmodels

_EXPERIMENTS = Path(jaxmodels.__file__).parents[1] / "experiments"
_COMMANDS = {
    "python -m experiments.NAME --help": "all flags of an experiment, by group, and its presets",
    "python -m jaxmodels.report RUN [RUN ...]": "the page of a run, or of several side by side",
    "python -m jaxmodels.verify RUN [RUN ...]": "whether files are sound and steps are reproduced",
    "python -m jaxmodels.diff A B": "what differs between two runs, and from which step on",
    "python -m jaxmodels.replay RUN --step N": "the examples of a step, with loss and gradient",
    "python -m jaxmodels.plan EXPERIMENT --topology v5e:4x4": "memory, time, links, before a run",
    "python -m jaxmodels.launch ENGINE EXPERIMENT": "files for Slurm, JobSet and SkyPilot",
}


def experiments() -> Iterator[tuple[str, str]]:
    """Yields the scripts of the folder experiments that can be run, with a line about each."""
    for path in sorted(_EXPERIMENTS.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        calls = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args
        }
        if "main" in calls:
            lines = (ast.get_docstring(tree) or "").splitlines()
            yield path.stem, lines[0] if lines else ""


def main() -> int:
    """Prints the experiments and the commands; returns the exit code."""
    print(f"jaxmodels {jaxmodels.__version__}\n\nExperiments (python -m experiments.NAME):")
    found = list(experiments())
    for name, line in found:
        print(f"  {name:<18} {line}")
    if not found:
        print("  none: run this from a clone of the project")
    print("\nCommands:")
    for command, line in _COMMANDS.items():
        print(f"  {command}\n      {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
