"""What a launcher has to know of a run."""

import hashlib
import shlex
from dataclasses import dataclass, field

from jaxmodels.errors import InputError

RESUMABLE = 75  # the exit code of a run that stopped on request
BAD_INPUT = 2
PORT = 7777  # of the first process


@dataclass(frozen=True)
class Job:
    """An experiment's command and where it runs.

    hosts: machines (nodes, pods). chips: accelerators of each; 0: its CPU only. folder: the
    persistent folder of all run folders, which every machine has.
    """

    experiment: str
    flags: tuple[str, ...] = ()
    hosts: int = 1
    chips: int = 0
    name: str = ""
    folder: str = "runs"
    engine: dict[str, str] = field(default_factory=dict)  # options of one engine only

    def __post_init__(self):
        for name in ("workdir", "coordinator", "processes", "process-id"):
            if any(word == f"--{name}" or word.startswith(f"--{name}=") for word in self.flags):
                raise InputError(
                    f"--{name} is given; the launcher sets it: leave it out, and name the folder of"
                    " the runs with --folder"
                )
        if self.hosts < 1 or self.chips < 0:
            raise InputError(
                f"hosts = {self.hosts}, chips = {self.chips}; expected at least 1 and 0"
            )

    @property
    def title(self) -> str:
        """A name that all engines take: letters, digits and dashes; the same for the same command,
        so that starting it again resumes the run."""
        if self.name:
            return self.name
        digest = hashlib.sha256(" ".join([self.experiment, *self.flags]).encode()).hexdigest()[:8]
        return f"{self.experiment.replace('_', '-')}-{digest}"

    @property
    def workdir(self) -> str:
        """The run folder."""
        return f"{self.folder}/{self.title}"

    @property
    def has_mirror(self) -> bool:
        """Whether the run is copied to a bucket."""
        return any(word == "--mirror" or word.startswith("--mirror=") for word in self.flags)

    @property
    def needs_disk(self) -> bool:
        """Whether the run folder has to outlive the machines. One machine goes on from the bucket;
        several need a folder that all of them write."""
        return not self.has_mirror or self.hosts > 1

    def command(self, *more: str) -> str:
        """Writes the command of one process for a shell.

        more: words that the shell expands.
        """
        words = shlex.join(["python", "-m", f"experiments.{self.experiment}", *self.flags])
        return " ".join([words, "--workdir", shlex.quote(self.workdir), *more])


def require_name(name: str) -> None:
    """Raises InputError for a name that Kubernetes would not take."""
    rest = name.replace("-", "")
    if name and not (len(name) <= 40 and rest.isalnum() and rest.islower() and name[0].isalpha()):
        raise InputError(
            f"name = {name}; expected at most 40 small letters, digits and dashes, a letter first"
        )
