"""Hostile command lines, run files, records and weights: a right answer or one line, never more.

The short run tries a few of each, `pytest -m campaign tests/faults/test_fuzz.py` 3,000 in all, and
the same with JAXMODELS_FUZZ=33 before it 100,000.
"""

import contextlib
import io
import json
import os
import random
import resource
import shutil
import time
from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy

from experiments import classifier, gan, vae
from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.images import ImageData  # noqa: F401  # its module is slow to import
from jaxmodels.data.images.decoding import decode_image
from jaxmodels.data.images.stored import open_images
from jaxmodels.errors import InputError, RunError
from jaxmodels.models.inception_weights import _shapes, load_inception
from jaxmodels.report.page import run_page
from jaxmodels.report.run import read_run
from jaxmodels.train import main
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.command import parse
from jaxmodels.train.config import flags_of
from jaxmodels.train.lines import Lines
from jaxmodels.train.metadata import read_metadata
from jaxmodels.train.run_folder import RunFolder
from tests.faults import mutations
from tests.faults.cases import HangError, limited
from tests.marks import campaign
from tests.tfds_folder import example, png, write_image_dataset

_SECONDS, _MEGABYTES = 20, 2000  # of one input; of all of them
_TIMES = int(os.environ.get("JAXMODELS_FUZZ", 1))


def _many(*values):
    """A case of the campaign, whose last value is how many inputs it tries."""
    return campaign(*values[:-1], values[-1] * _TIMES)


def fuzz(count: int, attempt: Callable[[random.Random], object]) -> None:
    """Tries inputs that are made of the numbers 0, 1, ...: so one that fails is found again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(count):
        try:
            with limited(_SECONDS), contextlib.redirect_stderr(io.StringIO()):
                attempt(random.Random(seed))
        except (InputError, RunError) as error:
            assert len(str(error).splitlines()) <= 1, f"seed {seed}: several lines: {error}"
        except SystemExit as ended:
            assert ended.code in (0, 2), f"seed {seed}"
        except (Exception, HangError, RecursionError) as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < _MEGABYTES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run to damage."""
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    words = "--model mlp --hidden 8 --batch-size 16 --steps 4 --log-every 1 --eval-every 2"
    words += " --checkpoint-every 2 --mesh data=1 --workdir"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert (
            main(classifier.ClassifierConfig, classifier.build, {}, [*words.split(), str(folder)])
            == 0
        )
    for path in ("samples", "tensorboard"):
        shutil.rmtree(folder / path)
    return folder


@pytest.mark.parametrize(
    ("experiment", "config", "count"),
    [
        (module, config, size)
        for module, config in (
            (classifier, classifier.ClassifierConfig),
            (gan, gan.GANConfig),
            (vae, vae.VAEConfig),
        )
        for size in (20,)
    ]
    + [
        _many(classifier, classifier.ClassifierConfig, 50),
        _many(gan, gan.GANConfig, 50),
        _many(vae, vae.VAEConfig, 50),
    ],
)
def test_command_lines(experiment, config, count):
    flags = [*flags_of(config())]
    base = ["--steps", "10", "--seed", "1", "--batch-size", "8", "--learning-rate", "0.01"]

    def attempt(chance):
        words = mutations.mutated_words(base, flags, chance)
        if "--help" not in words:
            with contextlib.redirect_stdout(io.StringIO()):
                parse(config, experiment.PRESETS, words).validate()

    fuzz(count, attempt)


def _damaging(run, tmp_path, name, lines=False):
    """A copy of a run, and a function that writes a mutated file there."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    content = (run / name).read_bytes()

    def damage(chance):
        (folder / name).write_bytes(mutations.mutated_json(content, chance, lines))

    return folder, damage


FILES = {"config.json": False, "metrics.jsonl": True, "speed.jsonl": True, "evaluation.json": False}
FILES |= {"status.json": False}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("count", [20, _many(80)])
def test_files_of_a_run_in_the_report(run, tmp_path, name, count):
    folder, damage = _damaging(run, tmp_path, name, FILES[name])

    def attempt(chance):
        damage(chance)
        run_page(read_run(folder))

    fuzz(count, attempt)


@pytest.mark.parametrize("count", [30, _many(250)])
def test_records_of_an_older_format_in_the_report(run, tmp_path, count):
    """Without a checksum every value reaches the page."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    record = json.loads((run / "config.json").read_text())
    record |= {"format": 2}
    del record["checksum"]

    def attempt(chance):
        value = mutations.mutated_value(record, chance)
        (folder / "config.json").write_bytes(json.dumps(value).encode())
        RunFolder(folder).record()
        run_page(read_run(folder))

    fuzz(count, attempt)


@pytest.mark.campaign
@pytest.mark.parametrize("count", [100, _many(500)])
def test_files_of_a_run_that_goes_on(run, tmp_path, count):
    folder, damage = _damaging(run, tmp_path, "config.json")
    content = (run / "metrics.jsonl").read_bytes()
    copy = folder / "checkpoints" / "metrics.jsonl"
    facts = Checkpoints(run / "checkpoints").facts(4)

    def attempt(chance):
        damage(chance)
        RunFolder(folder).record()
        RunFolder(folder).reports()
        (folder / "metrics.jsonl").write_bytes(mutations.mutated_json(content, chance, True))
        if chance.random() < 0.5:
            copy.write_bytes(mutations.mutated_json(content, chance, True))
        lines = Lines(folder / "metrics.jsonl", copy)
        lines.read()
        lines.holds(facts.lines, facts.lines_hash)
        lines.restore(facts.lines, facts.lines_hash)
        assert lines.holds(facts.lines, facts.lines_hash)

    fuzz(count, attempt)


@pytest.mark.parametrize("count", [50, _many(500)])
def test_what_is_kept_of_data(run, tmp_path, count):
    folder, damage = _damaging(run, tmp_path, "data.json")
    record = RunFolder(run).record()
    whole = read_metadata(RunFolder(run), record)

    def attempt(chance):
        damage(chance)
        assert read_metadata(RunFolder(folder), record) == whole

    fuzz(count, attempt)


@pytest.mark.parametrize("count", [100, _many(500)])
def test_lines_that_no_checkpoint_counts(run, tmp_path, count):
    content = (run / "metrics.jsonl").read_bytes()

    def attempt(chance):
        (tmp_path / "metrics.jsonl").write_bytes(mutations.mutated_json(content, chance, True))
        folder = RunFolder(tmp_path)
        folder.restore(2, None)
        folder.best(("accuracy", "max"))
        folder.summary(2)

    fuzz(count, attempt)


@pytest.mark.parametrize("count", [100, _many(500)])
def test_facts_of_checkpoints(run, tmp_path, count):
    shutil.copytree(run, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    path = folder / "4" / "_CHECKPOINT_METADATA"
    content, checkpoints = path.read_bytes(), Checkpoints(folder)

    def attempt(chance):
        path.write_bytes(mutations.mutated_json(content, chance))
        checkpoints.facts(4)
        if chance.random() < 0.02:
            Checkpoints(folder).best()

    fuzz(count, attempt)


def _pictures():
    """A picture in several formats."""
    import cv2

    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (9, 7, 3)).astype(np.uint8)
    names = (".png", ".jpg", ".bmp", ".webp", ".tiff")
    return [cv2.imencode(name, image)[1].tobytes() for name in names] + [png(image[..., :1])]


@pytest.mark.parametrize("count", [200, _many(800)])
def test_pictures(count):
    pictures = _pictures()

    def attempt(chance):
        encoded = mutations.mutated_bytes(chance.choice(pictures), chance)
        decode_image(encoded, chance.choice((None, 1, 3, 4)), chance.choice((None, np.uint8)))

    fuzz(count, attempt)


@pytest.mark.parametrize("count", [50, _many(130)])
def test_records(tmp_path, count):
    encoded = example(_pictures()[0], 1)
    made = [mutations.mutated_bytes(encoded, random.Random(seed)) for seed in range(count)]
    write_image_dataset(tmp_path, "hostile", {"train": made}, {"train": []}, shape=(9, 7, 3))
    records = open_images("hostile", str(tmp_path)).splits["train"]

    def attempt(chance):
        for record in records.read([chance.randrange(count)]):
            decode_image(record["image"], 3)

    fuzz(count, attempt)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("count", [20, _many(35)])
def test_weights(tmp_path, count, suffix):
    """Files with all names but wrong shapes: so they stay small, and are refused when whole."""
    weights = {name: np.zeros((1,), np.float32) for name in _shapes()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz":
        np.savez(path, **weights)
    else:
        path.write_bytes(safetensors.numpy.save(weights))
    content = path.read_bytes()

    def attempt(chance):
        path.write_bytes(mutations.mutated_bytes(content, chance))
        load_inception(path)

    fuzz(count, attempt)


def test_a_hang_and_a_traceback_are_noticed():
    def hang(_):
        with contextlib.suppress(BadRecord):
            time.sleep(_SECONDS + 5)

    with pytest.raises(AssertionError, match="seed 0"):
        fuzz(1, lambda _: {}["missing"])
    with pytest.raises(HangError), limited(1):
        hang(None)
