"""Plans a run for devices that need not be there: memory, work, links, time.

    python -m jaxmodels.plan classifier --topology cpu:8
    python -m jaxmodels.plan language_model --preset gpt2-small --data DATA --topology v5e:4x4 \\
        --mesh data=4,fsdp=4
    python -m jaxmodels.plan language_model --depth 24 --topology h100:8 --search --page plan.html

--quick lets the compiler for TPUs optimise less, which takes less time: for first looks and
searches. A run's own step overlaps more, so that its peak may be larger.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxmodels.commands import BAD, GOOD, exit_code_of
from jaxmodels.errors import InputError
from jaxmodels.plan.topology import Topology, devices_of, hurry, prepare, read_topology

if TYPE_CHECKING:
    from jaxmodels.plan.facts import Plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan; returns the exit code: 0 where it fits the memory, else 1."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code_of(lambda: _plan(words))


def _plan(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return GOOD
    experiment, *flags = words
    named, flags = _taken("--topology", flags)
    if not named:
        raise InputError(
            "topology is not given; expected --topology KIND:SHAPE, as v5e:4x4, h100:8 or cpu:8"
        )
    topology = read_topology(named)
    page, flags = _taken("--page", flags)
    if page == "":
        raise InputError("page is empty; expected --page FILE.html")
    searching, quick = "--search" in flags, "--quick" in flags
    flags = [word for word in flags if word not in ("--search", "--quick")]
    # Before jax looks for devices.
    prepare(topology)
    devices, note = devices_of(topology)
    if quick:
        note += hurry(topology)
    return _show(plan(experiment, flags, topology, devices, note, searching), page)


def plan(
    name: str,
    flags: list[str],
    topology: Topology,
    devices: list[Any],
    note: str,
    searching: bool = False,
) -> "Plan":
    """Makes the plan of an experiment."""
    from jaxmodels.plan.compiled import compile_step
    from jaxmodels.plan.facts import Plan
    from jaxmodels.plan.search import search
    from jaxmodels.train.implied import parse_with_implied
    from jaxmodels.train.layout import use_compilation_cache
    from jaxmodels.train.script import find_script

    hint = "name one of experiments/, as classifier"
    config_class, build = find_script(Path(name), name, hint)
    presets = getattr(sys.modules[build.__module__], "PRESETS", {})
    config = parse_with_implied(config_class, presets, flags, f"python -m jaxmodels.plan {name}")
    config.validate()
    if devices[0].platform == "cpu":  # programs for absent devices cannot be read back
        use_compilation_cache()

    def compiled_with(tried: Any) -> Any:
        return compile_step(build(tried), tried, topology, devices)

    if not searching:
        return Plan(compiled_with(config), config, topology, note)
    config, compiled, tried = search(config, topology, compiled_with)
    return Plan(compiled, config, topology, note, tried)


def _show(made: "Plan", page: str | None) -> int:
    """Prints a plan, and writes its page where it is asked for."""
    from jaxmodels.files import write_text
    from jaxmodels.plan.page import plan_page
    from jaxmodels.plan.text import text_of
    from jaxmodels.train.identity import command_of

    text = text_of(made)
    print(f"found: {command_of(made.config)}\n\n{text}" if made.tried else text)
    if page:
        write_text(Path(page), plan_page(made))
        print(f"page: {page}")
    return GOOD if made.fits else BAD


def _taken(flag: str, words: list[str]) -> tuple[str | None, list[str]]:
    """Takes a flag with its value out of the words; the value of one that is not there is None."""
    rest, value = [], None
    left = iter(words)
    for word in left:
        if word == flag:
            value = next(left, "")
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return value, rest


if __name__ == "__main__":
    sys.exit(main())
