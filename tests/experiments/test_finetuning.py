"""Runs that start from the weights of others, by the command line."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from experiments.table import TableConfig
from experiments.table import build as build_table
from jaxmodels.train import configure, load_run, main
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.start import with_start
from jaxmodels.train.trainer import Trainer
from tests.marks import slow

FLAGS = "--data iris --hidden 8 8 --batch-size 16 --eval-every 100 --schedule constant --keep 9"
FLAGS += " --mesh data=1"


def _main(flags, workdir, *more):
    arguments = [*FLAGS.split(), *flags.split(), "--workdir", str(workdir), *map(str, more)]
    return main(TableConfig, build_table, arguments=arguments)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "run"
    assert _main("--steps 4 --ema 0.9", folder) == 0
    return folder


def _params(workdir, step, part="params"):
    state = Checkpoints(workdir / "checkpoints").read(step)["state"]
    tree = state["ema"]["params"] if part == "ema" else state[part]
    return {path: np.asarray(leaf) for path, leaf in flatten_dict(tree, sep="/").items()}


@pytest.mark.campaign
@pytest.mark.slow
def test_a_run_starts_from_the_average_of_another_and_needs_it_no_more(source, tmp_path, capsys):
    weights, run = tmp_path / "weights", tmp_path / "run"
    shutil.copytree(source, weights)
    flags = "--seed 5 --freeze Dense_0"
    assert _main(f"{flags} --steps 4", run, "--init-from", weights) == 0
    table = capsys.readouterr().err
    assert "starts from weights (run of table, step 4): 139 of 139 parameters" in table
    before = _params(run, 0) | _params(run, 0, "frozen")
    for path, leaf in _params(source, 4, "ema").items():
        assert leaf.tobytes() == before[path].tobytes(), path
    assert _params(run, 4, "frozen").keys() == {"Dense_0/kernel", "Dense_0/bias"}
    for path, leaf in _params(run, 4, "frozen").items():
        assert leaf.tobytes() == before[path].tobytes(), path
    fact = json.loads((run / "config.json").read_text())["facts"]["start"]
    assert fact["kind"] == "table" and fact["step"] == 4 and fact["fresh"] == {}
    assert fact["taken"] == {"params/Dense_0": 40, "params/Dense_1": 72, "params/Dense_2": 27}

    # Another source at its place, and another path, are other runs.
    other = tmp_path / "other"
    assert _main("--steps 2 --seed 1", other) == 0
    shutil.rmtree(weights)
    shutil.copytree(other, weights)
    for path in (weights, other):
        assert _main(f"{flags} --steps 6", run, "--init-from", path) == 2
        assert "weights are others than those that the run began with" in capsys.readouterr().err
    assert _main(f"{flags} --steps 6", run) == 2
    assert "init_from given -> None" in capsys.readouterr().err
    # Without any, the run goes on.
    shutil.rmtree(weights)
    assert _main(f"{flags} --steps 6", run, "--init-from", weights) == 0
    assert _main(f"{flags} --steps 8", run, "--init-from", tmp_path / "elsewhere") == 2
    assert "the run in this workdir began from" in capsys.readouterr().err
    assert load_run(run).step == 6


@pytest.mark.slow
def test_what_does_not_fit_stays_fresh(source, tmp_path, capsys):
    run = tmp_path / "run"
    assert _main("--steps 1 --hidden 8 6", run, "--init-from", source) == 0
    told = capsys.readouterr().err
    assert "fresh: [8] there, [6] here; [8, 8] there, [8, 6] here" in told
    # A bias of the same shape belongs to a kernel of another.
    assert "as the rest of its module; [8, 3] there, [6, 3] here" in told
    before, first = _params(run, 0), _params(source, 4, "ema")
    assert before["Dense_0/kernel"].tobytes() == first["Dense_0/kernel"].tobytes()
    assert before["Dense_1/kernel"].shape == (8, 6) and before["Dense_1/kernel"].any()


@pytest.mark.slow
def test_adapters_of_a_source_are_merged(source, tmp_path, capsys):
    adapted, run = tmp_path / "adapted", tmp_path / "run"
    adapters = "--adapter-rank 2 --adapter-on kernel --adapter-scale 2"
    assert _main(f"--steps 3 {adapters}", adapted, "--init-from", source) == 0
    scores = load_run(adapted).scores["test"]
    capsys.readouterr()
    # Without a run in the workdir, weights are used as they are, and nothing is written.
    assert _main("--mode evaluate", run, "--init-from", adapted) == 0
    line = capsys.readouterr().out
    assert line.startswith("step=0 ") and not run.exists()
    loss = float(line.split("test/loss=")[1].split()[0])
    assert loss == pytest.approx(scores["loss"], rel=1e-4)
    assert _main("--mode evaluate --hidden 8 6", run, "--init-from", adapted) == 2
    assert "would have random values" in capsys.readouterr().err


@pytest.mark.campaign
@pytest.mark.parametrize("parallel", list(map(slow, ("jit", "pmap"))))
def test_eight_devices_start_and_train_as_one(source, tmp_path, parallel):
    states = []
    for devices in (1, 8):
        config = configure(
            TableConfig(),
            data="iris",
            hidden=(8, 8),
            batch_size=16,
            steps=3,
            init_from=str(source),
            workdir=str(tmp_path / f"{devices}"),
            mesh=f"data={devices}",
            freeze="Dense_0",
            parallel=parallel,
        )
        experiment = with_start(build_table(config), config, None)
        trainer = Trainer(experiment, config, RunFolder(tmp_path / f"{devices}"))
        begun = trainer.create()
        states.append(jax.device_get(begun))
        after = trainer.program.advance(begun, trainer.program.zeros(), 0, 3)[0]
        states.append(jax.device_get(after))
    for one, eight in zip(states[:2], states[2:]):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    start = [jax.tree.leaves(states[i]) for i in (0, 2)]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*start))


@pytest.mark.parametrize(
    ("flags", "told"),
    {
        "nothing there": ("--init-from nowhere", "expected a run folder, or published weights"),
        "nothing fits": ("--hidden 7 5", "none of the weights"),
        "no weights": (f"--init-from {__file__}", "error: "),
        "frozen": ("--freeze Dens_0", "did you mean 'Dense_0'"),
        "decay": ("--layer-decay 0", "above 0 and at most 1"),
        "adapters": ("--adapter-rank 1", "--adapter-on"),
    }.values(),
)
def test_wrong_use_is_one_line_and_writes_nothing(source, tmp_path, capsys, flags, told):
    given = [] if "init-from" in flags else ["--init-from", source]
    data = ["--data", "wine"] if "hidden" in flags else []
    assert _main(f"--steps 2 {flags}", tmp_path / "run", *given, *data) == 2
    out = capsys.readouterr()
    errors = [line for line in out.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and told in errors[0]
    assert not (tmp_path / "run").exists()
