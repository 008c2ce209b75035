"""Prints what starts a run on Slurm, Kubernetes or a cloud.

    python -m jaxmodels.launch slurm --hosts 2 --chips 8 language_model --preset gpt2-small > run.sh
    python -m jaxmodels.launch jobset --hosts 4 --chips 8 --image IMAGE --claim runs \\
        classifier --steps 9000 > run.yaml
    python -m jaxmodels.launch skypilot --chips 8 --accelerator H100 gan > run.yaml
    python -m jaxmodels.launch rights --user NAME > rights.yaml   # what NAME needs for a JobSet
    python -m jaxmodels.launch health RUN --within 3600
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxmodels.commands import BAD, GOOD, exit_code_of
from jaxmodels.errors import InputError
from jaxmodels.launch.health import health
from jaxmodels.launch.job import Job, require_name
from jaxmodels.launch.jobset import manifests
from jaxmodels.launch.rights import submitter_rights
from jaxmodels.launch.skypilot import skypilot_task
from jaxmodels.launch.slurm import sbatch_script

_OPTIONS = {
    "slurm": ("time", "partition", "account"),
    "jobset": ("image", "claim", "tpu", "tpu_topology", "restarts", "service_account"),
    "skypilot": ("accelerator", "bucket"),
}
_HELP = {
    "time": "limit, as 24:00:00",
    "partition": "of Slurm",
    "account": "of Slurm",
    "image": "of the container, with the project in its working directory",
    "claim": "name of the volume claim that is mounted at --folder",
    "tpu": "kind of GKE, as tpu-v5-lite-podslice; without it chips are GPUs",
    "tpu_topology": "of GKE, as 4x4",
    "restarts": "most restarts",
    "service_account": "of the pods, which has to be there; without it one without rights is made",
    "accelerator": "name, as H100",
    "bucket": "name of the bucket that is mounted at --folder",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the manifest; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code_of(lambda: _launch(words))


def _launch(words: list[str]) -> int:
    given = _parser().parse_args(words)
    if given.engine == "health":
        is_well, line = health(Path(given.run), given.within)
        print(line)
        return GOOD if is_well else BAD
    if given.engine == "rights":
        kind, name = ("Group", given.group) if given.user is None else ("User", given.user)
        _print_documents(submitter_rights(kind, name))
        return GOOD
    require_name(given.name)
    options = {name: getattr(given, name) for name in _OPTIONS[given.engine]}
    job = Job(
        given.experiment,
        tuple(given.flags),
        given.hosts,
        given.chips,
        given.name,
        engine={name: value for name, value in options.items() if value is not None},
    )
    # A disk of Slurm's machines is shared, one of a pod or in a cloud is mounted at a folder; where
    # none is mounted, the user may not write there.
    is_here = given.engine == "slurm" or (given.engine == "skypilot" and not job.needs_disk)
    folder = given.folder or ("runs" if is_here else "/runs")
    job = dataclasses.replace(job, folder=folder.rstrip("/"))
    if given.engine == "slurm":
        print(sbatch_script(job), end="")
    else:
        _print_documents(manifests(job) if given.engine == "jobset" else [skypilot_task(job)])
    return GOOD


def _print_documents(documents: list[dict[str, Any]]) -> None:
    import yaml

    print(yaml.dump_all(documents, Dumper=_dumper(), sort_keys=False, width=1000), end="")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; python -m jaxmodels.launch --help lists all")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m jaxmodels.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    engines = parser.add_subparsers(dest="engine", required=True, parser_class=_Parser)
    for engine, options in _OPTIONS.items():
        own = engines.add_parser(engine)
        own.add_argument("--hosts", type=int, default=1, help="machines")
        own.add_argument("--chips", type=int, default=0, help="accelerators of each; 0: its CPU")
        own.add_argument("--name", default="", help="of the job and its run folder")
        own.add_argument("--folder", help="of all run folders: persistent, or with --mirror any")
        for name in options:
            own.add_argument(f"--{name.replace('_', '-')}", help=_HELP[name])
        own.add_argument("experiment", help="NAME of experiments/NAME.py")
        own.add_argument("flags", nargs=argparse.REMAINDER, help="those of the experiment")
    whose = engines.add_parser("rights").add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", help="who submits runs, as the cluster calls them")
    whose.add_argument("--group", help="whose members do")
    own = engines.add_parser("health")
    own.add_argument("run", help="the run folder")
    own.add_argument("--within", type=float, default=3600, help="seconds")
    return parser


def _dumper() -> type:
    """Makes the writer of YAML that shows texts of several lines as such."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def write(dumper, text):
        return dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        )

    Dumper.add_representer(str, write)
    return Dumper


if __name__ == "__main__":
    sys.exit(main())
