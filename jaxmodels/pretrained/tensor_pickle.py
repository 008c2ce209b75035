"""Reads pickles of named tensors without executing anything.

A pickle is a program for a machine with a stack. `read_pickle` is that machine with few
instructions: containers, numbers, texts, and names of which a fixed list stands for tensors. A
name that is not in the list ends the reading, so nothing is ever imported or called.
"""

import pickletools
from collections.abc import Callable
from io import BufferedIOBase
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.errors import InputError

# The types of torch that numpy has; bfloat16 is added by who reads the numbers.
STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_TENSORS = {"_rebuild_tensor", "_rebuild_tensor_v2"}
_PARAMETERS = {"_rebuild_parameter", "_rebuild_parameter_with_state"}
# What torch.save writes of protocols 2 to 5, beside what stands in `_Machine.run`.
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES"),
}


class Name(NamedTuple):
    """What a pickle would import."""

    module: str
    name: str


class Storage(NamedTuple):
    """A piece of memory that tensors look at.

    dtype: numpy's name of it; size: in numbers.
    """

    key: str
    dtype: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides are counted in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pickle(file: BufferedIOBase) -> Any:
    """Reads one pickle of containers, numbers, texts and tensors, and no byte behind it.

    Raises:
      InputError: it holds something else; the message begins with that.
      ValueError, IndexError, KeyError, TypeError: it is damaged.
    """
    machine = _Machine()
    for instruction, argument, _ in pickletools.genops(file):
        machine.run(instruction.name, argument)
    return machine.stack.pop()


class _Machine:
    """The machine of a pickle.

    stack: what is being made; marks: where the parts of open containers begin; memo: what is
    used again.
    """

    def __init__(self):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """Runs an instruction, by its name in `pickletools`."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif made := _INSTRUCTIONS.get(name):
            made(self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise InputError(f"the instruction {name}")

    def marked(self) -> list[Any]:
        """Takes what lies above the last mark."""
        at = self.marks.pop()
        parts, self.stack[at:] = self.stack[at:], []
        return parts

    def last(self, count: int) -> tuple[Any, ...]:
        """Takes the uppermost things."""
        parts = self.stack[len(self.stack) - count :]
        if len(parts) != count:
            raise ValueError("the stack is empty")
        del self.stack[len(self.stack) - count :]
        return tuple(parts)

    def add_items(self, parts: list[Any]) -> None:
        """Adds keys and values to the dictionary on top."""
        if not isinstance(self.stack[-1], dict):
            raise ValueError("items of what is no dictionary")
        self.stack[-1].update(zip(parts[::2], parts[1::2], strict=True))

    def add_parts(self, parts: list[Any]) -> None:
        """Adds parts to the list on top, which also stands for a set."""
        if not isinstance(self.stack[-1], list):
            raise ValueError("parts of what is no list")
        self.stack[-1].extend(parts)

    def refer(self, module: str, name: str) -> None:
        """Puts a name on the stack, if it is in the list."""
        called = Name(module, name)
        if not (called in _MADE or (module in ("torch", "torch.storage") and name in STORAGES)):
            raise InputError(f"{module}.{name}")
        self.stack.append(called)

    def call(self) -> None:
        """Makes what a listed function would make of its arguments."""
        called, arguments = self.last(2)
        if called not in _MADE:
            raise ValueError("a call of what is no function")
        self.stack.append(_MADE[called](*arguments))

    def build(self) -> None:
        """Leaves out the attributes of a dictionary, as the versions of a state_dict's modules."""
        target, _ = self.last(2)
        if not isinstance(target, dict):
            raise ValueError("attributes of what is no dictionary")
        self.stack.append(target)

    def storage(self) -> None:
        """Puts the storage of a persistent id on the stack."""
        ((kind, called, key, _, size, *views),) = self.last(1)
        if kind != "storage" or not isinstance(called, Name) or called.name not in STORAGES:
            raise ValueError("another persistent id than a storage's")
        if any(view is not None for view in views):
            raise InputError("a view of a storage")
        self.stack.append(Storage(str(key), STORAGES[called.name], int(size)))


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.last(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.last(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.last(3)),
    "APPEND": lambda machine, _: machine.add_parts(list(machine.last(1))),
    "APPENDS": lambda machine, _: machine.add_parts(machine.marked()),
    "ADDITEMS": lambda machine, _: machine.add_parts(machine.marked()),
    "SETITEM": lambda machine, _: machine.add_items(list(machine.last(2))),
    "SETITEMS": lambda machine, _: machine.add_items(machine.marked()),
    "GLOBAL": lambda machine, names: machine.refer(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.refer(*machine.last(2)),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(),
}


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise ValueError("a tensor of no storage")
    numbers = (offset, *shape, *strides)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a tensor of odd sizes")
    reach = offset + sum((n - 1) * stride for n, stride in zip(shape, strides)) + 1
    if np.prod(shape, dtype=object) and reach > storage.size:
        raise ValueError("a tensor that is larger than its storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ValueError("a parameter of no tensor")
    return tensor


_MADE: dict[Any, Callable] = {
    Name("collections", "OrderedDict"): lambda *pairs: dict(*pairs),
    Name("torch", "Size"): lambda parts=(): tuple(parts),
    Name("builtins", "set"): lambda parts=(): list(parts),
    Name("__builtin__", "set"): lambda parts=(): list(parts),
    **{Name("torch._utils", name): _tensor for name in _TENSORS},
    **{Name("torch._utils", name): _parameter for name in _PARAMETERS},
}
