"""Event files: the bytes that TensorBoard expects, and no step twice."""

import math
import sys

import pytest

from jaxmodels.train.tensorboard import FILE, crc32c, encode_events, write_events

LINES = [
    {"step": 50, "split": "train", "loss": 0.5},
    {"step": 100, "split": "train", "loss": 0.25},
    {"step": 100, "split": "validation", "loss": 0.75, "accuracy": 0.875},
    {"step": 2**40, "split": "train", "loss": None},
    {"step": 2**40, "split": "test", "loss": 1e300, "größe": -3.5},
]


def content(folder):
    return {path.parent.name: path.read_bytes() for path in folder.glob(f"*/{FILE}")}


def test_the_checksum_is_castagnolis():
    # The check value of the algorithm, and 32 bytes of zeros from RFC 3720, appendix B.4.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_fewer_lines_are_the_beginning_of_the_file():
    whole = b"".join(encode_events(LINES))
    for count in range(len(LINES)):
        assert whole.startswith(b"".join(encode_events(LINES[:count])))


def test_a_file_is_continued_where_it_can_be_and_replaced_where_not(tmp_path):
    write_events(LINES, tmp_path / "whole")
    whole = content(tmp_path / "whole")
    assert whole.keys() == {"train", "validation", "test"}
    folder = tmp_path / "tensorboard"
    write_events(LINES[:2], folder)
    path = folder / "train" / FILE
    before = path.stat().st_ino
    write_events(LINES, folder)
    assert path.stat().st_ino == before  # what watches the file sees it grow
    assert content(folder) == whole
    # Cut short by a kill, and continued.
    path.write_bytes(whole["train"][:-7])
    write_events(LINES, folder)
    assert content(folder) == whole
    # Resumed before the step that it had reached: later steps are gone until they are made again.
    write_events(LINES[:1], folder)
    assert content(folder) == {"train": b"".join(encode_events(LINES[:1]))}
    write_events(LINES, folder)
    assert content(folder) == whole


def test_splits_name_folders_and_nothing_else(tmp_path):
    write_events([{"step": 1, "split": "../../x", "loss": 1.0}], tmp_path / "tensorboard")
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_events(LINES, tmp_path)
    read = {}
    for split in ("train", "validation", "test"):
        accumulator = EventAccumulator(str(tmp_path / split), purge_orphaned_data=True).Reload()
        for tag in accumulator.Tags()["scalars"]:
            events = accumulator.Scalars(tag)
            read[split, tag] = [(event.step, event.value) for event in events]
            assert [event.wall_time for event in events] == [event.step for event in events]
    step, value = read["train", "loss"].pop()
    assert step == 2**40 and math.isnan(value)
    assert read == {
        ("train", "loss"): [(50, 0.5), (100, 0.25)],
        ("validation", "loss"): [(100, 0.75)],
        ("validation", "accuracy"): [(100, 0.875)],
        ("test", "loss"): [(2**40, math.inf)],
        ("test", "größe"): [(2**40, -3.5)],
    }


def test_a_watching_tensorboard_sees_a_resumed_run_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    write_events(LINES[:1], tmp_path)
    loader = EventFileLoader(str(tmp_path / "train" / FILE))
    assert [event.step for event in loader.Load()] == [0, 50]
    write_events(LINES, tmp_path)
    assert [event.step for event in loader.Load()] == [100, 2**40]
    assert "tensorflow" not in sys.modules
