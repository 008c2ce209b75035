"""The script for a machine with a GPU, in miniature on this one."""

import importlib.util
import json
import math
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.benchmarks.accelerator import __main__ as accelerator
from experiments.benchmarks.accelerator import language_model, resume, steps
from experiments.benchmarks.accelerator.device import PEAKS, peak
from experiments.benchmarks.accelerator.results import Results, cell, tables
from experiments.benchmarks.accelerator.setting import Command, OutOfTime, Setting
from experiments.benchmarks.alternate import Timing, time_in_turns
from experiments.benchmarks.language_model_peers import task_of
from jaxmodels.files import read_json

CPU = {"platform": "cpu", "device_kind": "cpu", "jax": "0", "torch": None}
H100 = CPU | {"platform": "gpu", "device_kind": "NVIDIA H100 80GB HBM3"}


@pytest.fixture
def one_device(monkeypatch):
    """Processes see one device, as a user's do."""
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


@pytest.fixture
def setting(tmp_path):
    return Setting(CPU, tmp_path / "runs", time.monotonic() + 300, turns=1, seconds=0.02)


def _run(folder, *parts, minutes=8.0):
    arguments = ["--output", str(folder), "--runs", str(folder / "runs")]
    return accelerator.main([*arguments, "--minutes", str(minutes), "--parts", *parts])


@pytest.mark.slow
def test_the_cheap_parts_run_in_miniature(one_device, tmp_path, capsys):
    assert _run(tmp_path, "classifier", "fashion") == 0
    classifier = read_json(tmp_path / "classifier.json")
    assert classifier["status"] == "done"
    device = classifier["device"]
    assert device["platform"] == "cpu" and device["made_with"]["packages"]["jax"]
    ours, *others = classifier["rows"]
    assert ours["by"] == "jaxmodels" and ours["steps_per_second"] > 0 and ours["times_ours"] == 1
    assert ours["GFLOP"] == pytest.approx(_flops("tiny") / 1e9, rel=0.25)
    assert ours["of_peak"] is None, "of a CPU no peak is known"
    for row in others:
        missing = importlib.util.find_spec("torch") is None
        assert ("No module named 'torch'" in row["note"]) == missing
    assert read_json(tmp_path / "fashion.json")["status"] == "skipped"
    printed = capsys.readouterr().out
    for line in tables(tmp_path, tuple(accelerator.PARTS)).splitlines():
        assert line in printed or line.startswith(("###", "cpu, ", "- "))


def _flops(name):
    from experiments.benchmarks.classifier_peers import TASKS

    return TASKS[name].flops()


@pytest.mark.campaign
@pytest.mark.slow
def test_the_other_parts_run_in_miniature(one_device, tmp_path):
    parts = ["smoke", "resume", "dcgan", "convolution"]
    assert _run(tmp_path, *parts, minutes=20) == 0
    rows = {part: read_json(tmp_path / f"{part}.json")["rows"] for part in parts}
    codes = {row["experiment"]: row["exit_code"] for row in rows["smoke"]}
    assert codes == {"classifier": 0, "gan": 0, "vae": 0}
    assert all(row["last_line"].startswith("step=6 ") for row in rows["smoke"])
    assert [row["checkpoints"] for row in rows["resume"]] == ["equal"]
    assert [row["compiled_anew"] for row in rows["resume"]] == ["equal"]
    assert 100 <= rows["resume"][0]["killed_after_step"] < 1600
    assert all(row["ratio"] > 0 for row in rows["convolution"])


@pytest.mark.campaign
@pytest.mark.slow
def test_language_models_run_in_miniature(one_device, tmp_path):
    assert _run(tmp_path, "language_model") == 0
    rows = read_json(tmp_path / "language_model.json")["rows"]
    ours = [row for row in rows if row["by"].startswith("jaxmodels")]
    assert [row["step"] for row in ours] == [
        *["tiny, in miniature"] * 2,
        *["tiny_simple, in miniature"] * 2,
    ]
    assert all(row["attention"] == "blocks" and row["tokens/s"] > 0 for row in ours)
    [eager] = [row for row in rows if row["by"] == "PyTorch eager"]
    if importlib.util.find_spec("torch") is not None:
        assert eager["tokens/s"] > 0 and eager["GFLOP"] == ours[0]["GFLOP"]


def test_operations_of_language_models_are_those_of_their_products():
    """Of GPT-2's 124 million parameters all but positions, norms and biases are counted; PaLM's
    appendix B adds 12 * layers * width * context for attention, of which causal needs half."""
    task = task_of("124m:8")
    assert (task.batch, task_of("simple:32").parts, task_of("124m").batch) == (8, 16, 32)
    counted = 12 * (4 * 768**2 + 2 * 768 * 3072) + 50_304 * 768
    each = 6 * counted + 12 * 12 * 768 * 1024 // 2
    assert task.flops() == each * 8 * 1024
    assert each == pytest.approx(798e6, rel=1e-3)
    # One H200 runs train_gpt_simple.py's batch in 1.07067 s (modded-nanogpt, 2026-05-17): 39.5%.
    gpu = H100 | {"device_kind": "NVIDIA H200"}
    part = language_model.COMPARISONS[1]
    mine = Timing("ours", (1.07067,), 16, facts={"attention": "cudnn"})
    setting = Setting(gpu, Path("runs"), 0.0)
    row = steps._row(mine, mine, float(task_of("simple:32").flops()), part, setting)
    assert row["of_peak"] == "39.5%"
    more = language_model._columns("simple:32", mine)
    assert more["tokens/s"] == pytest.approx(489_700, rel=1e-3) and more["attention"] == "cudnn"


def test_a_step_is_not_timed_with_another_attention_than_its_model_chose(monkeypatch):
    from experiments.benchmarks import language_model_peers
    from jaxmodels.errors import RunError
    from jaxmodels.models.causal_model import CausalModel

    monkeypatch.setattr(CausalModel, "attention_kind", lambda *_: "cudnn")
    step = SimpleNamespace(program=lambda: SimpleNamespace(compile=lambda: Compiled()))

    class Compiled:
        @staticmethod
        def as_text():
            return "ENTRY main { dot }"

    with pytest.raises(RunError, match="the compiled program has no fused attention"):
        language_model_peers._checked("tiny", step)


def test_an_error_in_one_part_leaves_the_others_alone(monkeypatch, tmp_path, capsys):
    def broken(setting, results):
        results.add(what="before", number=1)
        raise ValueError("no such thing")

    def fine(setting, results):
        results.add(what="fine", number=2)

    monkeypatch.setattr(accelerator, "_device", lambda setting: dict(CPU))
    parts = {"broken": accelerator.Part(broken, 0, 9), "fine": accelerator.Part(fine, 0, 9)}
    monkeypatch.setattr(accelerator, "PARTS", parts)
    assert _run(tmp_path, "broken", "fine") == 1
    content = read_json(tmp_path / "broken.json")
    assert content["status"] == "failed" and "no such thing" in content["error"]
    assert content["rows"] == [{"what": "before", "number": 1}]
    assert read_json(tmp_path / "fine.json")["status"] == "done"
    assert "ValueError: no such thing" in capsys.readouterr().err
    assert "- error: ValueError: no such thing" in tables(tmp_path, ["broken", "fine"])


def test_bad_input_is_named(tmp_path, capsys):
    assert _run(tmp_path, "resnet19") == 2
    assert "resnet19" in capsys.readouterr().err


def test_a_part_without_time_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(accelerator, "_device", lambda setting: dict(H100))
    assert _run(tmp_path, "resnet50", minutes=0.1) == 0
    assert read_json(tmp_path / "resnet50.json")["status"] == "skipped"


def test_results_are_on_the_disk_after_every_row(tmp_path, capsys):
    results = Results(tmp_path, "vae", CPU)
    assert read_json(tmp_path / "vae.json")["rows"] == []
    results.add(step="a|b", ms=0.123456, detail={"log": "long"})
    content = read_json(tmp_path / "vae.json")
    assert content["rows"][0]["detail"] == {"log": "long"} and content["status"] == "running"
    assert capsys.readouterr().out.splitlines()[1:] == [
        "| step | ms |",
        "|---|---|",
        "| a/b | 0.1235 |",
    ]
    assert "running" in tables(tmp_path, ["vae", "smoke"])
    assert [cell(v) for v in (None, True, 12345, 1234.5, 0.5)] == [
        "",
        "True",
        "12,345",
        "1,234",
        "0.5",
    ]


def test_peaks_of_devices():
    assert peak("NVIDIA H100 80GB HBM3", "bfloat16") == 989.5e12
    assert peak("NVIDIA H100 PCIe", "tf32") == 378e12
    assert peak("NVIDIA H200", "float32") == 67e12
    assert peak("NVIDIA A100-SXM4-80GB", "tf32") == 156e12
    assert peak("TPU v5 lite", "bfloat16") is None
    assert all(set(peaks) == {"float32", "tf32", "bfloat16"} for _, peaks in PEAKS)


def test_shares_of_peak_are_of_what_the_step_computes_in(setting):
    part = steps.PARTS["resnet50"]
    gpu = setting._replace(device=H100)
    assert steps.precision_of(part, gpu) == "bfloat16"
    assert steps.precision_of(steps.PARTS["vae"], gpu) == "tf32"
    assert steps.precision_of(steps.PARTS["vae"], gpu._replace(tf32=False)) == "float32"
    mine = Timing("ours", (0.01, 0.02, 0.03), 16, facts={"peak_bytes": 2**31})
    row = steps._row(mine, mine, 989.5e9, part, gpu)
    assert row["of_peak"] == "5.0%" and row["TFLOP/s"] == pytest.approx(49.475)
    assert row["GiB"] == 2 and row["steps_per_second"] == 50
    lost = Timing("torch_compiled", (), 16, "RuntimeError: CUDA out of memory. Tried")
    assert steps._lacked_memory(lost) and not steps._lacked_memory(mine)
    row = steps._row(lost, mine, 989.5e9, part, gpu)
    assert row["ms"] is None and "out of memory" in row["note"]
    json.dumps(row)


def test_a_process_that_takes_too_long_is_ended(setting, tmp_path):
    arguments = ["-c", "import time; time.sleep(600)"]
    late = setting._replace(deadline=time.monotonic() + 1)
    command = Command(late, "timeit", arguments[1:], tmp_path / "log")
    with pytest.raises(OutOfTime):
        command.wait()
    assert command.process.poll() is not None


def test_comparison_finds_what_differs(tmp_path):
    import orbax.checkpoint as ocp

    for run, number in (("a", 1.0), ("b", 1.0), ("c", 1.5)):
        path = (tmp_path / run / "checkpoints" / "7" / "default").absolute()
        tree = {"state": {"kernel": np.full(3, number, np.float32), "step": np.int32(7)}}
        with ocp.StandardCheckpointer() as writer:
            writer.save(path, tree)
        (tmp_path / run / "metrics.jsonl").write_text("{}\n")
    assert resume.compare(tmp_path / "a", tmp_path / "b") == {
        "leaves": 2,
        "different": [],
        "most": 0.0,
        "metrics": True,
    }
    found = resume.compare(tmp_path / "a", tmp_path / "c")
    assert found["different"] == ["['state']['kernel']"] and found["most"] == 0.5
    assert resume._said(found) == "1 of 2 arrays differ, by at most 5.0e-01"


PEERS = """
import time

def quick(task):
    return lambda steps: time.sleep(1e-4 * steps)

def broken(task):
    raise ValueError("no " + task)

def dies(task):
    def block(steps):
        import os, sys
        sys.stderr.write("the last words")
        sys.stderr.flush()
        os._exit(3)
    return block

def slow(task):
    return lambda steps: time.sleep(60)
"""


@pytest.mark.slow
def test_peers_that_fail_leave_the_others_their_turns(tmp_path, monkeypatch):
    (tmp_path / "peers_of_this_test.py").write_text(PEERS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(filter(None, sys.path))}")
    peers = ["quick", "broken", "dies", "slow"]
    deadline = time.monotonic() + 15
    timings = time_in_turns(
        "peers_of_this_test", peers, "luck", 2, 0.001, together=True, deadline=deadline
    )
    quick, broken, dies, slow = timings
    assert len(quick.seconds) == 1 and not quick.unavailable, "there was no time for its turns"
    assert broken.unavailable == "ValueError: no luck" and "Traceback" in broken.detail
    assert dies.unavailable == "its process ended with 3" and "last words" in dies.detail
    assert slow.unavailable == "no answer before the deadline"
    assert time.monotonic() < deadline + 15
    assert math.isfinite(quick.median) and "turn 1: no answer" in quick.detail
