"""The streams that experiments.benchmarks.data compares give the same examples."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.benchmarks import data_peers
from experiments.benchmarks.alternate import Timing
from experiments.benchmarks.data import PHOTOGRAPH_PEERS, decode_table, training_table
from tests.tfds_folder import write_image_dataset

COUNT, BATCH = 16, 8


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))  # which the peers change
    monkeypatch.setattr(data_peers, "BATCH", {"mnist": BATCH, "photographs": BATCH})
    data_peers.make_photographs(tmp_path / "photographs", COUNT)
    digits = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28, 1), dtype=np.uint8)
    labels = [row % 10 for row in range(COUNT)]
    write_image_dataset(
        tmp_path, "mnist", {"train": list(digits)}, {"train": labels}, 10, version="3.0.1"
    )
    return {"mnist": f"mnist={tmp_path}", "photographs": f"photographs={tmp_path / 'photographs'}"}


@pytest.mark.slow
def test_ours_and_grain_give_each_example_once_in_an_epoch(tasks):
    shapes = {"mnist": (28, 28, 1), "photographs": (224, 224, 3)}
    expected = Counter(row % 10 for row in range(COUNT))
    for kind, task in tasks.items():
        for batches in (data_peers.our_batches(task), data_peers.grain_batches(task, 0)):
            labels = Counter()
            for images, of_batch in itertools.islice(batches, COUNT // BATCH):
                assert images.shape == (BATCH, *shapes[kind])
                assert images.dtype == np.uint8
                labels.update(of_batch.tolist())
            batches.close()
            assert labels == expected


def test_photographs_are_like_photographs(tasks):
    paths, labels = data_peers.photographs(Path(tasks["photographs"].partition("=")[2]))
    assert len(paths) == len(labels) == COUNT
    for path in paths:
        assert 30e3 < path.stat().st_size < 120e3
        with Image.open(path) as image:
            assert min(image.size) >= 345 and max(image.size) <= 500


def test_tables_show_ratios_and_what_did_not_run():
    timings = [
        Timing("ours", (0.1, 0.2, 0.1), 2),
        Timing("torch_pillow", (), 2, "ModuleNotFoundError: No module named 'torch'"),
        Timing("grain_threads", (0.2, 0.2, 0.2), 2),
    ]
    _, _, _, ours, torch, grain = decode_table("title", PHOTOGRAPH_PEERS, timings, 64).split("\n")
    assert ours.split()[1:] == ["2", "threads", "480", "320", "640"]
    assert "not run (ModuleNotFoundError" in torch
    assert grain.endswith("1.50x")
    rows = [Timing("resident", (0.5, 0.5), 2), Timing("streamed", (0.8, 0.8), 2, waited=0.08)]
    last = training_table(rows).split("\n")[-1]
    assert last.split() == ["streamed", "12.5", "12.5", "12.5", "62.5%", "10.0%"]
