"""The code of a run: the files that its script imports, directly or not, and their hash."""

import ast
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxmodels

_BASE = Path(jaxmodels.__file__).parents[1]  # holds the packages jaxmodels and experiments
# The report only shows results, so its code cannot change them.
_WITHOUT = ("jaxmodels.report",)


def source_hash(build: Callable) -> str:
    """Hashes all code of the project that can take part in a run: the module of `build` and what it
    imports, from file to file. Comments, docstrings and layout do not enter.

    For a `build` that is in no file, as in a notebook, its own text enters instead, and the files
    of the functions and classes that it names.
    """
    texts, roots = _texts_and_roots(unwrapped(build))
    digest = hashlib.sha256()
    for text in texts:
        digest.update(_normal(text).encode() + b"\0")
    for name, path in sorted(reached(roots).items()):
        digest.update(name.encode() + b"\0" + _normal_file(path).encode() + b"\0")
    return digest.hexdigest()[:16]


def files_of(build: Callable) -> list[Path]:
    """Returns the project's files that can take part in a run. A part of `build` that is in no
    file, as in a notebook, counts as a file of the name of its cell."""
    texts, roots = _texts_and_roots(unwrapped(build))
    cell = Path(getattr(getattr(unwrapped(build), "__code__", None), "co_filename", "cell"))
    return [*([cell] if texts else []), *sorted(reached(roots).values())]


def reached(roots: dict[str, Path]) -> dict[str, Path]:
    """Returns the project's files, by module name, that `roots` import, directly or not, with the
    roots themselves.

    roots: files by module name.
    """
    found: dict[str, Path] = {}
    waiting = dict(roots)
    while waiting:
        name, path = waiting.popitem()
        if name in found or name.startswith(_WITHOUT):
            continue
        found[name] = path
        base = _base_of(path)
        for imported in _imports(path, _dotted(path, base)):
            waiting |= {n: p for n, p in _files_of(imported, base) if n not in found}
    return found


def unwrapped(build: Callable) -> Callable:
    """Returns the function that decorators and partial functions are around."""
    while isinstance(build, functools.partial):
        build = build.func
    return inspect.unwrap(build)


def _texts_and_roots(build: Callable) -> tuple[list[str], dict[str, Path]]:
    """Returns the texts of the functions that are in no file, and the files to follow imports from,
    by module name."""
    path = _file_of(sys.modules.get(build.__module__))
    if path:
        return [], {_dotted(path, _base_of(path)): path}
    texts, roots, seen = [], {}, set()
    waiting = [build]
    while waiting:
        function = waiting.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        texts.append(_text_of(function))
        for name in sorted(_names_in(function)):
            value = getattr(function, "__globals__", {}).get(name)
            module = value if inspect.ismodule(value) else inspect.getmodule(value)
            path = _file_of(module)
            if module and path and path.is_relative_to(_BASE / "jaxmodels"):
                roots[module.__name__] = path
            elif path is None and isinstance(value, (types.FunctionType, type)):
                waiting.append(value)
    return texts, roots


def _file_of(module: types.ModuleType | None) -> Path | None:
    """Returns the Python file of a module, or None."""
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and file.endswith(".py") and Path(file).exists() else None


def _text_of(function: Callable) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return _text_of_code(code) if code else repr(function)


def _text_of_code(code: types.CodeType) -> str:
    """Returns compiled code as text without memory addresses."""
    consts = [
        _text_of_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts
    ]
    return repr((code.co_code, code.co_names, consts))


def _names_in(function: Callable) -> set[str]:
    """Returns the names that a function, or a class's methods, may look up in its module."""
    parts = [function] if isinstance(function, types.FunctionType) else vars(function).values()
    codes = [part.__code__ for part in parts if isinstance(part, types.FunctionType)]
    names: set[str] = set()
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return names


def _base_of(path: Path) -> Path:
    """Returns the folder that holds a file's outermost package, or the file if it is in none."""
    folder = path.parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    return folder


def _dotted(path: Path, base: Path) -> str:
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def _imports(path: Path, name: str) -> frozenset[str]:
    """Returns the names of modules that a file may import, at its top or in its functions."""
    return frozenset(_imported(path, name))


def _imported(path: Path, name: str) -> Iterator[str]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in _statements(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, None)
            waiting += inner if isinstance(inner, list) else []


@functools.cache
def _files_of(name: str, base: Path) -> tuple[tuple[str, Path], ...]:
    """Returns a module's file and those of its packages, found in `base` or in the project; nothing
    for a module from elsewhere."""
    return tuple(_found(name, base))


def _found(name: str, base: Path) -> Iterator[tuple[str, Path]]:
    parts = name.split(".")
    for root in dict.fromkeys((base, _BASE)):
        file = root.joinpath(*parts).with_suffix(".py")
        if not file.exists():
            file = root.joinpath(*parts, "__init__.py")
        if file.exists():
            yield name, file
            for length in range(1, len(parts)):
                package = root.joinpath(*parts[:length], "__init__.py")
                if package.exists():
                    yield ".".join(parts[:length]), package
            return


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def _normal_file(path: Path) -> str:
    return _dump(_tree(path))


def _normal(text: str) -> str:
    """Strips comments, docstrings and layout from code; leaves text that is no code as it is."""
    try:
        return _dump(ast.parse(inspect.cleandoc(text)))
    except SyntaxError:
        return text


def _dump(tree: ast.AST) -> str:
    """Writes a syntax tree as text, without positions, docstrings and empty fields, since which
    empty fields there are depends on the version of Python."""
    text: list[str] = []
    # Text, or what is yet to be written. This is no recursion, since every start waits for it.
    waiting: list[str | ast.AST | list] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            text.append(node)
        elif isinstance(node, ast.AST):
            text.append(f"{type(node).__name__}(")
            waiting.append(")")
            for name in reversed(node._fields):
                value = getattr(node, name, None)
                if value is not None and value != []:
                    waiting += ",", _unwritten(value), f"{name}="
        else:
            text.append("[")
            waiting.append("]")
            for part in reversed(node):
                if not (isinstance(part, ast.Expr) and _is_text(part.value)):
                    waiting += ",", _unwritten(part)
    return "".join(text)


def _unwritten(value: object) -> str | ast.AST | list:
    return value if isinstance(value, (ast.AST, list)) else repr(value)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
