"""The house stands as its picture says: imports point down, and nothing grows too long to read."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [
    path for top in ("jaxmodels", "experiments") for path in sorted((ROOT / top).rglob("*.py"))
]
# Parts of grain and tfds, which bring them.
BROUGHT = {"absl", "array_record", "google"}
# These need an extra, which they ask for.
OPTIONAL = {"keras_files.py", "saved_model.py", "store.py"} | {
    f"onnx_{name}.py" for name in ("control", "graph", "shapes")
}
OWN = {"jaxmodels", "experiments", *sys.stdlib_module_names}
# From the ground up. A room imports rooms of lower floors only, none beside it.
FLOORS = [
    ["errors", "roles", "interrupts"],
    ["order", "files", "cache", "commands"],
    ["run_record"],
    ["protocol"],
    ["across"],
    ["ops"],
    ["decoding", "metrics", "pictures", "pretrained"],
    ["train", "objectives", "models", "data", "report", "launch", "diff"],
    ["verify", "replay", "sentence_embeddings", "plan"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# These read files of runs, so they start at once: without jax, and without rooms that import it.
READERS = {"report", "launch", "diff"}
FOR_READERS = {"errors", "cache", "commands", "files", "pictures", "roles", "run_record"}


@cache
def _trees() -> dict[Path, ast.Module]:
    """Returns the syntax trees of all files, by path."""
    return {path.relative_to(ROOT): ast.parse(path.read_text("utf-8")) for path in FILES}


def _imports(tree):
    """The dotted names that a module imports, inside its functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _room(path):
    return Path(path.parts[1]).stem


def _may_import(room, other):
    if room == other or (room, other) == ("train", "report"):
        return True
    if room in READERS:
        return other in FOR_READERS
    return FLOOR[other] < FLOOR[room]


def test_every_room_has_a_floor():
    rooms = {_room(path) for path in _trees() if path.parts[0] == "jaxmodels"}
    assert rooms - {"__init__", "__main__"} <= set(FLOOR)


def test_rooms_import_only_what_lies_below():
    wrong = []
    for path, tree in _trees().items():
        if path.parts[0] != "jaxmodels" or _room(path) not in FLOOR:
            continue
        for name in _imports(tree):
            top, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            upward = top == "jaxmodels" and other in FLOOR and not _may_import(_room(path), other)
            if top == "experiments" or upward:
                wrong.append(f"{path} imports {name}")
    assert not wrong


def test_readers_of_runs_import_no_jax():
    wrong = [
        f"{path} imports {name}"
        for path, tree in _trees().items()
        if path.parts[0] == "jaxmodels" and _room(path) in READERS | FOR_READERS
        for name in _imports(tree)
        if name.partition(".")[0] in ("jax", "flax", "optax", "orbax")
    ]
    assert not wrong


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = chain(*project["optional-dependencies"].values())
    always = {_distribution(line) for line in project["dependencies"]}
    known = always | {_distribution(line) for line in extras}
    providers = packages_distributions()
    wrong = []
    for path, tree in _trees().items():
        declared = known if "benchmarks" in path.parts or path.name in OPTIONAL else always
        for name in {name.partition(".")[0] for name in _imports(tree)} - OWN - BROUGHT:
            owners = {_distribution(owner) for owner in providers.get(name, [])}
            if owners and not owners & declared:
                wrong.append(f"{path} imports {name}")
    assert not wrong


def _distribution(requirement):
    return re.split(r"[\[<>=~! ]", requirement)[0].lower().replace("_", "-")


def test_benchmarks_are_imported_by_benchmarks_only():
    wrong = [
        f"{path} imports {name}"
        for path, tree in _trees().items()
        if "benchmarks" not in path.parts
        for name in _imports(tree)
        if name.startswith("experiments.benchmarks")
    ]
    assert not wrong


def test_no_function_has_more_than_80_lines():
    wrong = [
        f"{path}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= 80
    ]
    assert not wrong


def test_no_python_file_has_more_than_600_lines_nor_the_readme_more_than_150():
    most = {path: 600 for path in chain(FILES, (ROOT / "tests").rglob("*.py"))}
    most[ROOT / "README.md"] = 150
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in most}
    assert not [f"{path.name} has {lines[path]} lines" for path in most if lines[path] > most[path]]
