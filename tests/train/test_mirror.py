"""Runs go on from a bucket, to the bit, whatever became of the machine and of the bucket."""

import json
import os
import socket
import subprocess
import sys

import fsspec
import jax
import numpy as np
import pytest

from jaxmodels.errors import InputError, RunError
from jaxmodels.run_record import states_of
from jaxmodels.train import configure, hosts, main, train
from jaxmodels.train.checkpoint import Checkpoints, DamagedCheckpoint
from jaxmodels.train.copies import steps_in
from jaxmodels.train.fetching import fetch
from jaxmodels.train.mirror import Mirror
from jaxmodels.train.repeat import runs_of
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.source import source_hash
from jaxmodels.train.store import Store
from tests.marks import campaign, slow_but
from tests.train.toys import CONFIG, experiment, regression

URL = "memory://bucket/runs/toy"
TOY = experiment(regression(noise=0.1))
_crashes = []  # steps of evaluations, each for once


class _Stop(Exception):
    pass


def _after_evaluation(evaluation):
    if evaluation.step in _crashes:
        _crashes.remove(evaluation.step)
        raise _Stop


def _build(config):
    return TOY._replace(after_evaluation=_after_evaluation)


def _config(path, url=URL, **flags):
    return configure(CONFIG, workdir=str(path), mirror=url, mesh="data=1", **flags)


def _emptied():
    fsspec.filesystem("memory").store.clear()
    return fsspec.filesystem("memory").store


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on one machine, the same on two that each began with nothing, and what the bucket then
    holds."""
    folder, store = tmp_path_factory.mktemp("runs"), _emptied()
    whole = train(_build, configure(_config(folder / "whole"), mirror=None))
    assert not store
    _crashes.append(20)
    with pytest.raises(_Stop):
        train(_build, _config(folder / "1"))
    last = train(_build, _config(folder / "2"))
    return folder, whole, last, {name: file.getvalue() for name, file in store.items()}


@pytest.fixture
def store(runs):
    """The bucket after that."""
    store = _emptied()
    for name, content in runs[-1].items():
        fsspec.filesystem("memory").pipe_file(name, content)
    return store


def _fetched(path, **flags):
    folder = RunFolder(path)
    fetch(Store(URL), folder, _config(path, **flags), source_hash(_build))
    return folder


def _named(store, ending):
    return sorted(name for name in store if name.endswith(ending))


def test_machines_that_begin_with_nothing_end_with_the_same_bits(runs):
    folder, whole, last, _ = runs
    assert last.finished
    leaves = [jax.tree.leaves(run.state) for run in (whole, last)]
    assert all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))
    one, other = folder / "whole", folder / "2"
    for name in ("metrics.jsonl", "evaluation.json", "checkpoints/metrics.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert sorted(os.listdir(one)) == sorted(os.listdir(other))
    assert states_of(RunFolder(one).speed()) == states_of(RunFolder(other).speed())


def test_a_run_that_has_finished_is_only_brought(store, tmp_path, capsys):
    before = {name: file.getvalue() for name, file in store.items()}
    result = train(_build, _config(tmp_path / "run"))
    assert (result.trained, result.step) == (False, 60)
    assert {name: file.getvalue() for name, file in store.items()} == before
    checkpoints = Checkpoints(tmp_path / "run/checkpoints")
    steps = checkpoints.steps()
    assert len(steps) >= 2 and all(map(checkpoints.require_whole, steps))
    # What --keep deletes is deleted there as well.
    kept = [name.split("/")[-2] for name in _named(store, "/_CHECKPOINT_METADATA")]
    assert sorted(map(int, kept)) == steps
    assert "damaged" not in capsys.readouterr().err


def _newest(store, ending):
    return next(name for name in _named(store, ending) if "/checkpoints/60-" in name)


def _flip(store, name):
    content = bytearray(store[name].getvalue())
    content[len(content) // 2] ^= 16
    fsspec.filesystem("memory").pipe_file(name, bytes(content))


DAMAGE = {
    "of an array": lambda store: _flip(store, _newest(store, "/60/default/manifest.ocdbt")),
    "cut": lambda store: fsspec.filesystem("memory").pipe_file(
        _newest(store, "/metrics.jsonl"), b""
    ),
    "deleted": lambda store: store.pop(_newest(store, "/60/_CHECKPOINT_METADATA")),
    "of its record": lambda store: _flip(store, _newest(store, "/config.json")),
    "of its list": lambda store: _flip(store, _newest(store, ".json")),
    "without its list": lambda store: store.pop(
        next(name for name in _named(store, ".json") if "/checkpoints/60-" in name)
    ),
}


@pytest.mark.parametrize("kind", slow_but("of an array", DAMAGE))
def test_where_the_newest_is_not_whole_the_one_before_is_taken(store, tmp_path, capsys, kind):
    steps = sorted(steps_in(_fetched(tmp_path / "good")))
    DAMAGE[kind](store)
    assert sorted(steps_in(_fetched(tmp_path / "run"))) == steps[:-1]
    said = capsys.readouterr().err
    assert said.count("\n") == (kind != "without its list")
    assert kind == "without its list" or "checkpoint 60 of mirror" in said
    lines = (tmp_path / "run/metrics.jsonl").read_bytes()
    assert (tmp_path / "good/metrics.jsonl").read_bytes().startswith(lines)


def test_where_nothing_is_whole_it_is_said(store, tmp_path):
    for name in _named(store, "manifest.ocdbt"):
        store.pop(name)
    with pytest.raises(DamagedCheckpoint, match="no checkpoint that is whole; --overwrite"):
        _fetched(tmp_path / "run")
    with pytest.raises(InputError, match="holds another run: seed 0 -> 7"):
        _fetched(tmp_path / "other", seed=7)
    assert not _fetched(tmp_path / "new", overwrite=True).record()
    for name in [name for name in store if "/checkpoints/" not in name]:
        store.pop(name)
    with pytest.raises(InputError, match="and no run; expected an empty folder"):
        _fetched(tmp_path / "foreign")


def test_lists_that_lead_out_of_the_folder_are_not_followed(store, tmp_path):
    index = {"files": {"../escaped": [1, "0"], "/escaped": [1, "0"], "samples": 3}}
    fsspec.filesystem("memory").pipe_file(f"{URL}/files.json", json.dumps(index).encode())
    assert not (_fetched(tmp_path / "run").path / "status.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_machine_that_was_given_up_does_not_write_any_more(store, tmp_path):
    folder = _fetched(tmp_path / "run")
    lost, other = Mirror(Store(URL), folder), Mirror(Store(URL), folder)
    lost.claim()
    other.claim()
    other.finish()
    with pytest.raises(RunError, match="another process has taken over the run"):
        lost.finish()


def test_a_store_that_fails_ends_the_run_with_a_line_and_it_goes_on(
    store, tmp_path, capsys, monkeypatch
):
    _emptied()
    memory, arguments = type(fsspec.filesystem("memory")), ["--mirror", URL, "--steps", "30"]
    arguments += ["--workdir", str(tmp_path / "run"), "--batch-size", "16", "--mesh", "data=1"]
    arguments += ["--checkpoint-every", "15", "--log-every", "8", "--eval-every", "20"]
    puts = memory.put_file

    def fail(self, source, target, **more):
        if "/checkpoints/30-" in target and target.endswith("commit_success.txt"):
            raise OSError("the network is gone\nsince today")
        return puts(self, source, target, **more)

    monkeypatch.setattr(memory, "put_file", fail)
    assert main(type(CONFIG), _build, arguments=arguments) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"failed: mirror {URL}: OSError: the network is gone; what the workdir")
    # The upload that was cut short does not count.
    assert sorted(steps_in(_fetched(tmp_path / "other", steps=30))) == [15, 20]
    monkeypatch.undo()
    assert main(type(CONFIG), _build, arguments=arguments) == 0
    assert "is finished" in capsys.readouterr().out
    assert max(steps_in(_fetched(tmp_path / "another", steps=30))) == 30
    assert json.loads((tmp_path / "another/status.json").read_text())["status"] == "finished"


def test_processes_with_folders_of_their_own_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts, "_SEEN", 0)
    monkeypatch.setattr(hosts, "wait_for_all", lambda name: None)
    monkeypatch.setattr(hosts, "from_first", lambda make: make())
    hosts.require_same_folder(tmp_path / "shared")
    assert not list((tmp_path / "shared").iterdir())
    monkeypatch.setattr(hosts, "from_first", lambda make: ".made-elsewhere.partial")
    with pytest.raises(InputError, match="expected one on a disk that all of them share"):
        hosts.require_same_folder(tmp_path)


def _s3(monkeypatch):
    """A server of S3's protocol with a bucket, and the URL in it."""
    moto = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.get_host_and_port()[1]}")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
    return server, "s3://bucket/runs/toy"


def _gs(monkeypatch):
    """The same of Google's protocol."""
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    pytest.importorskip("gcsfs")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("localhost", port, in_memory=True, default_bucket="bucket")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
    return server, "gs://bucket/runs/toy"


_TRAIN = """
import sys
from jaxmodels.train import main
from tests.train.toy_script import ToyConfig, build
sys.exit(main(ToyConfig, build))
"""
_WRITE = """
import sys
from jaxmodels.train.store import Store
Store(sys.argv[1]).write("x", b"x")
"""


def _ran(program, *words):
    """Runs a program as users do; returns its exit code and last line."""
    variables = {**os.environ, "FSSPEC_GS_TOKEN": "anon"}
    # Which only asks Google itself what kind of bucket it is.
    variables["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600)
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("serve", [_s3, campaign(_gs)])
def test_stores_that_speak_the_protocols_of_clouds(serve, tmp_path, monkeypatch):
    server, url = serve(monkeypatch)
    code, line = _ran(_WRITE, url.replace("bucket", "nothing"))
    assert code == 1 and "nothing/runs/toy: there is no such bucket" in line, line
    for name, more in (("1", []), ("2", ["--steps", "40"])):
        code, line = _ran(_TRAIN, "--mirror", url, "--workdir", tmp_path / name, *more)
        assert code == 0, line
    lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("1", "2")]
    assert lines[1].startswith(lines[0]) and lines[1].count(b'"step": 40') == 2
    server.stop()
    code, line = _ran(_TRAIN, "--mirror", url, "--workdir", tmp_path / "2", "--mode", "evaluate")
    assert code == 1 and line.startswith(f"failed: mirror {url}: "), line


def test_urls(tmp_path, monkeypatch):
    for url in ("bucket/run", "gs:/x", "s3://"):
        with pytest.raises(InputError, match=f"mirror = {url}; expected the URL of a folder"):
            _config(tmp_path, url).validate()
    with pytest.raises(RunError, match="mirror nothing://x: ValueError: Protocol not known"):
        Store("nothing://x")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(InputError, match=r"pip install -e '.\[cloud\]'"):
        Store(URL)
    seeds = runs_of(_config(tmp_path, "gs://bucket/x/", repeat=2))
    assert [each.run.mirror for each in seeds] == ["gs://bucket/x/seed-0", "gs://bucket/x/seed-1"]
