"""Statistics of a part of a model that is kept as it is."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxmodels.protocol import PyTree

Modules = frozenset[tuple[str, ...]]  # by their paths


def modules_that_keep(
    trained: PyTree, frozen: PyTree, collections: Mapping[str, PyTree]
) -> Modules:
    """Returns the modules with statistics that have no trained parameter.

    For a module without parameters of its own, those of the module around it decide.

    collections: beside the parameters, such as {"batch_stats": ...}.
    """
    paths = {path[:-1] for tree in collections.values() for path in flatten_dict(tree)}
    trains, keeps = list(flatten_dict(trained)), list(flatten_dict(frozen))

    def is_kept(path: tuple[str, ...]) -> bool:
        for end in range(len(path), -1, -1):
            if any(other[:end] == path[:end] for other in trains):
                return False
            if any(other[:end] == path[:end] for other in keeps):
                return True
        return False

    return frozenset(path for path in paths if is_kept(path))


@contextlib.contextmanager
def statistics_kept(modules: Modules) -> Iterator[None]:
    """Makes these modules use their statistics and not change them in whatever is traced inside:
    they are called as in an evaluation, also in training."""
    if not modules:
        yield
        return

    def call(function: Any, arguments: Any, named: Any, context: nn.module.InterceptorContext):
        if context.method_name == "__call__" and context.module.path in modules:
            if "train" in named:
                named = {**named, "train": False}
            elif "use_running_average" in named:
                named = {**named, "use_running_average": True}
        return function(*arguments, **named)

    with nn.intercept_methods(call):
        yield
