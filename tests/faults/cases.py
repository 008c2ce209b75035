"""The runs that faults are injected into: small ones of every experiment, compiled once."""

import contextlib
import functools
import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from jaxmodels.files import write_atomically
from jaxmodels.train import configure, loop, main
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.digest import digests_by_name
from jaxmodels.train.source import source_hash
from tests.faults.operations import Operation, watched
from tests.tfds_folder import write_image_dataset

PERIODS = "--log-every 2 --eval-every 4 --checkpoint-every 3 --steps 8 --mesh data=1"
FLAGS = {
    "classifier": "--model mlp --hidden 8 --batch-size 16 --ema 0.9 --batch-norm",
    "streamed": "--data pictures --data-dir DATA --loading streamed --image-size 12"
    " --model mlp --hidden 8 --batch-size 16 --flip --crop 1",
    "resident": "--data tiles --data-dir DATA --loading resident --model mlp --hidden 8"
    " --batch-size 16",
    "gan": "--width 4 --latent-size 4 --batch-size 8 --samples 20 --judge JUDGE",
    "vae": "--model mlp --hidden 8 --latent-size 3 --likelihood bernoulli --batch-size 16"
    " --scored 0 --samples 4",
    # Tokens that were packed into a file, from which windows are read as they are due.
    "language_model": "--data DATA --tokenizer bpe --vocabulary 300 --drop-repeated"
    " --loading streamed --depth 1 --width 16 --head-size 8 --context 16 --batch-size 8"
    " --dropout 0.1 --within-documents",
}
CONFIGS = {
    "classifier": "ClassifierConfig",
    "gan": "GANConfig",
    "vae": "VAEConfig",
    "language_model": "LanguageModelConfig",
}
_LIMIT = 120  # seconds of one command; a hang is a failure


class Ended(NamedTuple):
    """How a command ended."""

    code: int | None  # None: with an exception that it did not handle, or not in time
    out: str
    error: str

    @property
    def is_one_line(self) -> bool:
        """Whether it gave up with one line that says why."""
        said = [
            line for line in self.error.splitlines() if line.startswith(("error: ", "failed: "))
        ]
        if "Traceback" in self.error or "Warning" in self.error:
            return False
        return len(said) == 1 if self.code in (1, 2) else self.code == 75 and not said


class Result(NamedTuple):
    """What a run must give whatever befell it."""

    metrics: bytes
    evaluation: bytes | None
    step: int
    digests: dict[str, str]


class HangError(BaseException):
    """A command that did not end in time."""


class Case:
    """One experiment with its flags. Programs, data and judge are made once; what is read from and
    written to the run folder is as in any run."""

    def __init__(self, name: str, root: Path):
        self.name, self.root = name, root
        self.module = name if name in CONFIGS else "classifier"
        module = importlib.import_module(f"experiments.{self.module}")
        self._config, self._build = getattr(module, CONFIGS[self.module]), module.build
        self._experiments: dict[Any, Any] = {}
        self._trainers: dict[Any, loop.Trainer] = {}

    def flags(self, data: Path | None = None) -> list[str]:
        """The words of the command, without --workdir.

        data: where its data lies, if that was moved.
        """
        places = {"DATA": str(data or self.root / "tfds"), "JUDGE": str(self.root / "judge")}
        return [places.get(w, w) for w in f"{FLAGS[self.name]} {PERIODS}".split()]

    @functools.cached_property
    def reference(self) -> Result:
        """The result of an undisturbed run, whose folder is `whole`."""
        self._prepare()
        ended = self.run(self.whole)
        assert ended.code == 0, ended.error
        return self.result(self.whole)

    @property
    def whole(self) -> Path:
        """The folder of the undisturbed run."""
        return self.root / f"whole-{self.name}"

    def _prepare(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if "DATA" in FLAGS[self.name]:
            write = write_texts if self.name == "language_model" else write_pictures
            write(self.root / "tfds")
        if self.name == "gan":
            judge = Case("classifier", self.root / "for-judge")
            assert judge.reference
            shutil.move(judge.whole, self.root / "judge")

    def run(
        self,
        folder: Path,
        seed: int = 0,
        who: str = "",
        more: tuple[str, ...] = (),
        data: Path | None = None,
    ) -> Ended:
        """Runs the command in a folder, as `python -m experiments.NAME` does.

        who: another name for another process that runs at the same time.
        """
        words = [*self.flags(data), "--seed", str(seed), "--workdir", str(folder), *more]
        ended = self._run(words, who)
        if "AST constructor recursion" in ended.error:
            # Python 3.11 has one state for the parsers of all threads, and a library's thread that
            # outlives a failed run may print a traceback, which parses lines.
            time.sleep(2)
            ended = self._run(words, who)
        return ended

    def run_process(self, *module: str, folder: Path) -> Ended:
        """Runs the command in a process of its own, as an argument of a module with its own."""
        command = [sys.executable, "-m", *module, f"experiments.{self.module}"]
        words = [*self.flags(), "--seed", "0", "--workdir", str(folder)]
        # What tests are compiled with, so that the bits are the same.
        quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        try:
            process = subprocess.run(
                [*command, *words],
                env=os.environ | quick,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
            )
        except subprocess.TimeoutExpired as error:
            return Ended(None, "", f"Traceback {error!r}")
        return Ended(process.returncode, process.stdout, process.stderr)

    def forget(self) -> None:
        """Frees what runs of other names have made."""
        for kept in (self._experiments, self._trainers):
            for key in [key for key in kept if key[0]]:
                del kept[key]

    def _run(self, words: list[str], who: str) -> Ended:
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                with self._warm(who), limited(_LIMIT):
                    code = main(self._config, self._kept_build(who), {}, words)
            except (Exception, HangError, SystemExit, KeyboardInterrupt) as fault:
                return Ended(
                    None,
                    out.getvalue(),
                    error.getvalue() + "".join(traceback.format_exception(fault)),
                )
        return Ended(code, out.getvalue(), error.getvalue())

    def result(self, folder: Path) -> Result | None:
        """Reads what a run gave; None where it has no whole checkpoint."""
        trainer = next(iter(self._trainers.values()))
        checkpoints = Checkpoints(folder / "checkpoints")
        with contextlib.redirect_stderr(io.StringIO()):
            restored = checkpoints.restore_newest(trainer.program.like)
        if restored is None:
            return None
        found = folder / "evaluation.json"
        return Result(
            (folder / "metrics.jsonl").read_bytes(),
            found.read_bytes() if found.exists() else None,
            restored.step,
            digests_by_name(restored.tree),
        )

    def is_whole(self, folder: Path, seed: int = 0) -> bool:
        """Whether a folder holds what an undisturbed run of that seed gives."""
        expected = self.reference if seed == 0 else self.other
        try:
            return self.result(folder) == expected
        except Exception:
            return False

    @functools.cached_property
    def other(self) -> Result:
        """The result of an undisturbed run with seed 1."""
        folder = self.root / f"other-{self.name}"
        ended = self.run(folder, seed=1)
        assert ended.code == 0, ended.error
        return self.result(folder)

    @functools.cached_property
    def operations(self) -> list[Operation]:
        """The changes of files of an undisturbed run."""
        with watched(self.root / f"watched-{self.name}", lambda _: None) as seen:
            self.run(self.root / f"watched-{self.name}")
        return seen

    def stop(self) -> None:
        """Asks the run that goes on here to stop, as a signal would."""
        os.kill(os.getpid(), signal.SIGTERM)

    def _kept_build(self, who: str):
        @functools.wraps(self._build)
        def build(config):
            key = who, repr(configure(config, workdir="", overwrite=False, mode="train"))
            if key not in self._experiments:
                self._experiments[key] = self._build(config)
            return self._experiments[key]

        return build

    @contextlib.contextmanager
    def _warm(self, who: str) -> Iterator[None]:
        """Keeps compiled programs from call to call, and draws no pictures."""

        def trainer_of(experiment, config, folder, mirror=None):
            key = who, id(experiment), repr(configure(config, workdir="", overwrite=False))
            if key not in self._trainers:
                self._trainers[key] = Trainer(experiment, config, folder)
                self._trainers[key].program.compile()
            trainer = self._trainers[key]
            trainer.folder, trainer.config, trainer.mirror = folder, config, mirror
            return trainer

        Trainer = loop.Trainer
        if not isinstance(Trainer, type):  # another process is inside of this one
            yield
            return
        with (
            mock.patch.object(loop, "Trainer", trainer_of),
            # A signal that comes too late to be met would end the campaign.
            mock.patch("jaxmodels.interrupts._leave", lambda line: None),
            mock.patch("jaxmodels.train.command.source_hash", _source_hash),
            mock.patch("jaxmodels.train.findings._draw", _draw_nothing),
            mock.patch("jaxmodels.train.drawing.save_figure", _save_nothing),
            mock.patch("jaxmodels.train.drawing.curves_figure", lambda lines: lines),
        ):
            yield


@functools.cache
def _cached_source_hash(build) -> str:
    return source_hash(build)


def _source_hash(build) -> str:
    return _cached_source_hash(getattr(build, "__wrapped__", build))


def _draw_nothing(path: Path, draw: object) -> None:
    if draw is None:
        path.unlink(missing_ok=True)
    else:
        _save_nothing(draw, path)


def _save_nothing(figure: object, path: Path) -> None:
    write_atomically(path, lambda file: file.write(b"a picture"))


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises HangError in the block after some time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hang(*_):
        raise HangError(f"no end after {seconds} seconds")

    previous = signal.signal(signal.SIGALRM, hang)
    # Again and again, since what ends a command may wait too.
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, again)
        signal.signal(signal.SIGALRM, previous)


def write_pictures(root: Path) -> None:
    """Writes two data sets of tfds: 96 pictures to train on, and 24 for tests, of several sizes;
    and their corners, all of one size."""
    if root.exists():
        return
    generator = np.random.default_rng(0)
    images, labels = {}, {}
    for split, count in (("train", 96), ("test", 24)):
        labels[split] = generator.integers(0, 3, count).tolist()
        images[split] = [
            (generator.integers(0, 120, (14 + label, 16, 3)) + 60 * label).astype(np.uint8)
            for label in labels[split]
        ]
    write_image_dataset(root, "pictures", images, labels, shape=(-1, 16, 3))
    tiles = {split: [image[:8, :8] for image in own] for split, own in images.items()}
    write_image_dataset(root, "tiles", tiles, labels)


def write_texts(root: Path) -> None:
    """Writes a folder of 40 short texts, two of them equal."""
    root.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    words = ["the", "list", "of", "names", "holds", "an", "object", "and", "returns", "it"]
    for number in range(40):
        text = " ".join(generator.choice(words, 60 if number else 0).tolist())
        (root / f"{number:02}.txt").write_text(text + "\n" if number != 7 else "the list\n")
    shutil.copy(root / "03.txt", root / "04.txt")


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder whose files may be changing: what vanishes meanwhile is left out."""
    target.mkdir(parents=True)
    with contextlib.suppress(FileNotFoundError):
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    copy_folder(Path(entry.path), target / entry.name)
                else:
                    shutil.copy2(entry.path, target / entry.name, follow_symlinks=False)
