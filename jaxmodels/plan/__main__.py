"""Plans a run for devices that need not be there: memory, work, links, time.

    python -m jaxmodels.plan classifier --topology cpu:8
    python -m jaxmodels.plan language_model --preset gpt2-small --data DATA --topology v5e:4x4 \\
        --mesh data=4,fsdp=4
    python -m jaxmodels.plan language_model --depth 24 --topology h100:8 --search
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxmodels.commands import BAD, GOOD, exit_code_of
from jaxmodels.errors import InputError
from jaxmodels.plan.topology import Topology, devices_of, prepare, read_topology


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan; returns the exit code: 0 where it fits the memory, else 1."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code_of(lambda: _plan(words))


def _plan(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return GOOD
    experiment, *flags = words
    topology, flags = _topology(flags)
    searching = "--search" in flags
    flags = [word for word in flags if word != "--search"]
    # Before jax looks for devices.
    prepare(topology)
    devices, note = devices_of(topology)
    text, fits = plan(experiment, flags, topology, devices, note, searching)
    print(text)
    return GOOD if fits else BAD


def plan(
    name: str,
    flags: list[str],
    topology: Topology,
    devices: list[Any],
    note: str,
    searching: bool = False,
) -> tuple[str, bool]:
    """Returns the plan of an experiment as text, and whether it fits."""
    from jaxmodels.plan.compiled import compile_step
    from jaxmodels.plan.search import search
    from jaxmodels.plan.text import fits, text_of
    from jaxmodels.train.identity import command_of
    from jaxmodels.train.implied import parse_with_implied
    from jaxmodels.train.layout import use_compilation_cache
    from jaxmodels.train.script import find_script

    hint = "name one of experiments/, as classifier"
    config_class, build = find_script(Path(name), name, hint)
    presets = getattr(sys.modules[build.__module__], "PRESETS", {})
    config = parse_with_implied(config_class, presets, flags, f"python -m jaxmodels.plan {name}")
    config.validate()
    use_compilation_cache()
    if searching:
        config, compiled = search(
            config, topology, lambda tried: compile_step(build(tried), tried, topology, devices)
        )
    else:
        compiled = compile_step(build(config), config, topology, devices)
    text = text_of(compiled, config, topology, note)
    if searching:
        text = f"found: {command_of(config)}\n\n{text}"
    return text, fits(compiled, topology)


def _topology(flags: list[str]) -> tuple[Topology, list[str]]:
    """Takes --topology out of the flags."""
    rest, named = [], None
    words = iter(flags)
    for word in words:
        if word == "--topology":
            named = next(words, "")
        elif word.startswith("--topology="):
            named = word.partition("=")[2]
        else:
            rest.append(word)
    if not named:
        raise InputError(
            "topology is not given; expected --topology KIND:SHAPE, as v5e:4x4, h100:8 or cpu:8"
        )
    return read_topology(named), rest


if __name__ == "__main__":
    sys.exit(main())
