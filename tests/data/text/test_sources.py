"""Sources of windows: the same batches from the device and from the file, on any devices."""

import os
import resource
import time
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.data.text import (
    ContiguousWindows,
    RandomWindows,
    ResidentWindows,
    SlidingWindows,
    StreamedWindows,
    TokenColumn,
)
from jaxmodels.data.text.packing import load_columns
from jaxmodels.errors import InputError
from jaxmodels.order import Order
from jaxmodels.protocol import Objective, Source
from jaxmodels.train.evaluation import SplitProgram
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram

LENGTH, CONTEXT, BATCH = 3001, 16, 8
needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


@cache
def column(length=LENGTH, dtype=np.uint16):
    generator = np.random.default_rng(length)
    tokens = generator.integers(0, 500, length).astype(dtype)
    openings = np.flatnonzero(generator.random(length) < 0.05)
    return TokenColumn(tokens, np.concatenate([[0], openings[openings > 0]]))


WINDOWS = {
    "random": RandomWindows(LENGTH, CONTEXT),
    "contiguous": ContiguousWindows(LENGTH, CONTEXT),
    "sliding": SlidingWindows(LENGTH, CONTEXT, 5),
}


def batches(source, order, spans, length):
    arrays = jax.device_put(dict(source.arrays))
    step = jax.jit(source.batch)
    for (start, stop), sent in zip(spans, source.send(order, spans, length), strict=True):
        for at in range(stop - start):
            yield jax.device_get(step(arrays, {name: part[at] for name, part in sent.items()}))


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_resident_and_streamed_windows_are_those_of_the_column(name, documents):
    windows, tokens, openings = WINDOWS[name], column().tokens, column().openings
    order = Order(windows.size, BATCH, None if name == "sliding" else 3)
    spans = [(20, 23), (23, 24), (24, 28)]
    sources = [kind(column(), windows, documents) for kind in (ResidentWindows, StreamedWindows)]
    for resident, streamed, step in zip(
        *(batches(source, order, spans, 4) for source in sources), range(20, 28), strict=True
    ):
        start = windows.places(order, step, step + 1)["start"][0]
        places = start[:, None] + np.arange(CONTEXT + 1)
        expected = {"tokens": tokens[places].astype(np.int32)}
        if documents:
            document = (openings[:, None, None] <= places).sum(0)
            expected["document"] = (document - document[:, :1]).astype(np.int32)
        if name == "sliding":
            skip = windows.places(order, step, step + 1)["skip"][0]
            expected["scored"] = np.arange(CONTEXT) >= skip[:, None]
        for batch in (resident, streamed):
            assert batch.keys() == expected.keys()
            for column_name, values in expected.items():
                np.testing.assert_array_equal(batch[column_name], values)
                assert batch[column_name].dtype == values.dtype
        named = [f"tokens {at} to {at + CONTEXT}" for at in start]
        assert sources[0].keys(order, step) == sources[1].keys(order, step) == named
    for source in sources:
        assert isinstance(source, Source) and source.size == windows.size
        spec = source.spec(BATCH)
        assert {name: (s.shape, s.dtype) for name, s in spec.items()} == {
            name: (values.shape, values.dtype) for name, values in expected.items()
        }
        rows = np.array([3, 0, windows.size - 1])
        found, places = source.examples(rows), windows.of(rows)["start"]
        np.testing.assert_array_equal(found["tokens"], tokens[places[:, None] + np.arange(17)])
        assert source.key(3) == f"tokens {places[0]} to {places[0] + CONTEXT}"


@pytest.mark.parametrize("kind", [ResidentWindows, StreamedWindows])
def test_a_split_shorter_than_a_window_is_filled_up(kind):
    short = TokenColumn(np.array([4, 5, 6], np.uint16), np.array([0, 2]))
    source = kind(short, SlidingWindows(3, 6, 6), documents=True)
    [batch] = batches(source, Order(1, 2), [(0, 1)], 1)
    assert batch["tokens"].tolist() == [[4, 5, 6, 0, 0, 0, 0]] * 2
    assert batch["scored"].tolist() == [[True, True, False, False, False, False]] * 2
    assert batch["document"][0, :3].tolist() == [0, 0, 1]


def _sums(state, batch, key):
    del key
    weights = 1 + jnp.arange(CONTEXT + 1)
    sums = {"tokens": jnp.sum(batch["tokens"] * weights), "document": jnp.sum(batch["document"])}
    if "scored" in batch:
        scored = batch["scored"] & batch["valid"][:, None]
        sums["scored"] = jnp.sum(scored, dtype=jnp.int32)
        sums["targets"] = jnp.sum(jnp.where(scored, batch["tokens"][:, 1:], 0))
        return sums
    return {"step": state["step"] + 1}, sums


COUNTING = Objective(lambda key, spec, numbers: {"step": jnp.int32(0)}, _sums, _sums, dict)


@needs_8
@pytest.mark.parametrize("kind", [ResidentWindows, StreamedWindows])
def test_any_devices_and_any_interruption_give_the_same_bits(kind):
    source = kind(column(), WINDOWS["random"], documents=True)
    results, order = [], Order(source.size, BATCH, 5)
    for devices, parallel, stops in ((1, "jit", [9]), (8, "jit", [9]), (8, "pmap", [2, 9])):
        mesh = make_mesh(f"data={devices}")
        program = TrainProgram(COUNTING, source, BATCH, 4, 5, mesh, parallel=parallel)
        state, window, start = program.create(), program.zeros(), 0
        for stop in stops:  # as if it had been interrupted there
            state, window = program.advance(state, window, start, stop)
            start = stop
        results.append(jax.device_get((state, window)))
    starts = source._windows.places(order, 0, 9)["start"]
    windows = column().tokens[starts[..., None] + np.arange(CONTEXT + 1)].astype(np.int64)
    assert results[0][1]["tokens"] == (windows * (1 + np.arange(CONTEXT + 1))).sum()
    assert results[0] == results[1] == results[2]


@needs_8
@pytest.mark.parametrize("stride", [CONTEXT, 5])
def test_an_evaluation_scores_every_token_once_on_any_devices(stride):
    expected = int(column().tokens[1:].sum(dtype=np.int64))
    for devices, kind in ((1, StreamedWindows), (8, ResidentWindows)):
        source = kind(column(), SlidingWindows(LENGTH, CONTEXT, stride), documents=True)
        split = SplitProgram(source, 24, jax.random.key(0), make_mesh(f"data={devices}"))
        sums = split.sum(_sums, {"step": jnp.int32(0)})
        assert (sums["scored"], sums["targets"]) == (LENGTH - 1, expected)


def test_a_column_of_64_gigabytes_takes_no_memory_and_starts_at_once(tmp_path):
    """The file has holes, so that it takes no room on the disk either."""
    (tmp_path / "train.openings").write_bytes(np.array([0], np.int64).tobytes())
    with open(tmp_path / "train.tokens", "wb") as file:
        file.truncate(2**36)
        file.seek(2**36 - 2 * 1024)
        file.write(np.full(1024, 7, np.uint16).tobytes())
    before, started = _anonymous_memory(), time.process_time()
    huge = load_columns(tmp_path, {"train": None}, np.dtype(np.uint16))["train"]
    assert len(huge) == 2**35
    windows = RandomWindows(len(huge), 1024)
    source = StreamedWindows(huge, windows)
    assert source.size == 2**25 - 1
    order = Order(source.size, 8, 0)
    for start in (0, 2**24):  # the beginning, and steps after several epochs
        spans = [(start, start + 16), (start + 16, start + 20)]
        shapes = [sent["tokens"].shape for sent in source.send(order, spans, 16)]
        assert shapes == [(16, 8, 1025)] * 2
    last = source.examples(np.array([source.size - 1]))["tokens"]
    assert (last == 7).sum() == 1
    # Sorting an epoch would take 800 MB and seconds, reading around each window as well.
    assert _anonymous_memory() - before < 1 << 26
    assert time.process_time() - started < 2
    assert SlidingWindows(len(huge), 1024, 512).size == 2**26 - 1
    with pytest.raises(InputError, match="loading = resident; a split has 34,359,738,368 tokens"):
        ResidentWindows(huge, windows)


def _anonymous_memory():
    """Bytes of memory that belong to the process alone, without mapped files."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return (
        int(lines["RssAnon"].split()[0])
        * resource.getpagesize()
        // os.sysconf("SC_PAGE_SIZE")
        * 1024
    )
