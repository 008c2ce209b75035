"""Several seeds by one command: folders, what a kill leaves, the summary line, the page."""

import os
import re
import signal
import statistics

import pytest

from jaxmodels.errors import InputError, RunError
from jaxmodels.report.run import read_run
from jaxmodels.train import command, configure
from jaxmodels.train.command import main, train
from jaxmodels.train.identity import identity, repeats_folder_of, workdir_of
from tests.train.toy_script import ToyConfig, build

SEEDS = (3, 4, 5)


def arguments(folder, *more):
    return ["--workdir", str(folder), "--seed", "3", "--repeat", "3", *more]


def run(folder, *more, built=build):
    return main(ToyConfig, built, arguments=arguments(folder, *more))


def metrics(folder):
    return {seed: (folder / f"seed-{seed}" / "metrics.jsonl").read_bytes() for seed in SEEDS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three seeds that nothing happened to."""
    folder = tmp_path_factory.mktemp("several") / "new" / "whole"
    assert run(folder) == 0
    return folder


def test_each_seed_is_the_run_that_its_own_command_makes(tmp_path, whole):
    alone = ["--workdir", str(tmp_path / "alone"), "--seed", "4"]
    assert main(ToyConfig, build, arguments=alone) == 0
    assert (tmp_path / "alone" / "metrics.jsonl").read_bytes() == metrics(whole)[4]
    assert len(set(metrics(whole).values())) == 3
    record = read_run(whole / "seed-4").record
    assert "--seed 4" in record["command"] and "repeat" not in record["command"]
    assert "repeat" not in record["identity"]


def test_the_last_line_has_mean_and_deviation_and_a_page_shows_them(whole, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.glob("seed-*/checkpoints/*/*")}
    assert run(whole) == 0
    assert before == {
        path: path.stat().st_mtime_ns for path in whole.glob("seed-*/checkpoints/*/*")
    }
    line = capsys.readouterr().out.splitlines()[-1]
    losses = [read_run(whole / f"seed-{seed}").last("test")["loss"] for seed in SEEDS]
    mean, deviation = statistics.fmean(losses), statistics.stdev(losses)
    assert line == (f"seeds=3 finished=3 test/loss={mean:.5g}±{deviation:.2g} workdir={whole}")
    assert "3 seeds (3–5) · finished" in (whole / "comparison.html").read_text()


def test_the_last_scores_are_printed_once(tmp_path, capsys):
    assert main(ToyConfig, build, arguments=["--workdir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("step=24 test/loss=") == 1 and out.splitlines()[-1].startswith("step=24 test/")


@pytest.mark.slow
def test_a_stopped_repeat_goes_on_where_it_was(tmp_path, whole, capsys):
    def stops(config):
        made = build(config)
        if config.run.seed != 4:
            return made

        def after_evaluation(evaluation):
            if evaluation.step == 12:
                os.kill(os.getpid(), signal.SIGTERM)

        return made._replace(after_evaluation=after_evaluation)

    folder = tmp_path / "stopped"
    options = ["--accept-code-change"]
    assert run(folder, built=stops) == 75
    out = capsys.readouterr().out.splitlines()
    assert out[-2] == "stopped at step 12 of 24 of seed 4; the same command goes on"
    assert re.match(r"seeds=3 finished=1 test/loss=\S+ workdir=", out[-1]) and "±" not in out[-1]
    assert not (folder / "seed-5").exists()
    first = (folder / "seed-3" / "status.json").read_bytes()
    assert run(folder, *options) == 0
    assert (folder / "seed-3" / "status.json").read_bytes() == first
    assert metrics(folder) == metrics(whole)


def test_a_seed_that_fails_does_not_keep_the_others(tmp_path, monkeypatch, capsys):
    trained = command._train

    def fails(build, config, *rest, **options):
        if config.run.seed == 4:
            raise RunError("it diverged")
        return trained(build, config, *rest, **options)

    monkeypatch.setattr(command, "_train", fails)
    assert run(tmp_path) == 1
    said = capsys.readouterr()
    assert "failed: seed 4: it diverged" in said.err
    assert said.out.splitlines()[-1].startswith("seeds=3 finished=2 test/loss=")


def test_what_cannot_be_repeated_is_refused(tmp_path, whole, capsys):
    assert run(whole / "seed-3") == 2
    assert "holds a run; expected a folder for 3 of them" in capsys.readouterr().err
    assert run(whole, "--mode", "evaluate") == 2
    assert f"--workdir {whole}/seed-3" in capsys.readouterr().err
    assert run(tmp_path, "--repeat", "0") == 2
    assert "repeat = 0; expected at least 1" in capsys.readouterr().err
    with pytest.raises(InputError, match="call it for each seed"):
        train(build, configure(ToyConfig(), repeat=2))


def test_the_folder_of_repeats_is_the_same_for_any_seeds():
    several = configure(ToyConfig(), repeat=3)
    assert identity(several) == identity(ToyConfig())
    assert workdir_of(several) == workdir_of(ToyConfig())
    folder = repeats_folder_of(several)
    assert folder == repeats_folder_of(configure(several, seed=7, repeat=2))
    assert re.fullmatch(r"runs/toy/seeds-[0-9a-f]{8}", str(folder))
