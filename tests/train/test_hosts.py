"""Two processes, each of which reads its part of every batch, give what one gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmodels.data.images import DataConfig, load_images, make_source
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.train.evaluation import SplitProgram
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram
from tests.marks import campaign
from tests.tfds_folder import write_image_dataset
from tests.train.toys import predict, regression

STEPS, BATCH, SIZE = 7, 8, 37


def _flat(batch, key):
    """Pictures as the vectors and targets of a regression."""
    x = batch["image"].reshape(len(batch["image"]), -1)[:, :5] / 255.0
    return {**batch, "x": x, "y": x @ np.arange(5.0) + batch["label"]}


def _train(folder: Path, kind: str) -> dict:
    data = load_images("noise", folder)
    source = make_source(data, "train", DataConfig(loading=kind))
    objective, mesh = with_preprocessing(regression(noise=0.1), _flat), make_mesh("data=4")
    program = TrainProgram(objective, source, BATCH, 3, 5, mesh)
    state, window = program.advance(program.create(), program.zeros(), 0, STEPS)
    split = SplitProgram(source, BATCH, program.keys.evaluate, mesh)
    found = {"w": state["params"]["w"], "loss": window["loss"].total}
    found = {name: np.asarray(value).tolist() for name, value in found.items()}
    found["count"] = int(split.sum(objective.evaluate, state)["loss"].count)
    return found | {"predictions": np.asarray(split.map(prepared(predict, _flat), state)).tolist()}


def _process(folder: Path, kind: str, port: int, index: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.train.test_hosts", str(folder), kind, str(port), str(index)],
        env={
            **os.environ,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAXMODELS_CACHE": str(folder / f"cache{index}"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.hosts
@pytest.mark.parametrize("kind", [campaign("resident"), "streamed"])
def test_two_processes_give_what_one_gives(tmp_path, kind):
    if jax.device_count() < 4:
        pytest.skip("needs 4 simulated devices")
    generator = np.random.default_rng(0)
    images = list(generator.integers(0, 256, (SIZE, 3, 4, 1)).astype(np.uint8))
    labels = {"train": (np.arange(SIZE) % 3).tolist()}
    write_image_dataset(tmp_path, "noise", {"train": images}, labels)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [_process(tmp_path, kind, port, index) for index in range(2)]
    expected = _train(tmp_path, kind)
    assert expected["count"] == len(expected["predictions"]) == SIZE
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        found = json.loads(out.splitlines()[-1])
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    folder, kind, port, index = sys.argv[1:]
    jax.config.update("jax_platforms", "cpu")
    jax.distributed.initialize(f"localhost:{port}", 2, int(index))
    print(json.dumps(_train(Path(folder), kind)))
