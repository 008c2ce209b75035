"""A table of numbers through the whole way of data: no picture is involved."""

import pickle
from dataclasses import dataclass

import jax
import numpy as np
import pytest

from jaxmodels.data import (
    ArrayRecords,
    BadRecord,
    Dataset,
    Draw,
    Order,
    Resident,
    Selection,
    Streamed,
    decode_once,
    evaluation_splits,
)
from jaxmodels.data.carving import carve
from jaxmodels.data.checking import (
    check_policy,
    content_hash,
    duplicates,
    inspect_parts,
    keep_findings,
    load_findings,
    require_class,
)
from jaxmodels.errors import InputError
from jaxmodels.files import whole_folder
from tests.marks import slow

SIZE = 37
SPEC = {
    "features": jax.ShapeDtypeStruct((3,), np.float32),
    "target": jax.ShapeDtypeStruct((), np.int32),
}


@dataclass(frozen=True)
class Decode:
    """Three features of a row, two of them measured and noisy in training."""

    noise: float = 0.0

    def __call__(self, record, draw: Draw | None):
        features = np.append(record["measured"], record["age"]).astype(np.float32)
        if draw is not None and self.noise:
            generator = np.random.Generator(np.random.Philox(key=(draw.seed, draw.position)))
            features[:2] += np.float32(self.noise) * generator.random(2, np.float32)
        return {"features": features, "target": record["target"]}


def _columns(size=SIZE, seed=0):
    generator = np.random.default_rng(seed)
    return {
        "measured": generator.normal(size=(size, 2)),
        "age": generator.integers(18, 99, size),
        "target": generator.integers(0, 3, size),
    }


@pytest.fixture
def dataset():
    splits = {"train": ArrayRecords(_columns()), "test": ArrayRecords(_columns(9, 1))}
    return Dataset("people", "1", "abc", splits, {"target": ("a", "b", "c")})


def _batches(source, order, spans, length):
    for (start, stop), sent in zip(spans, source.send(order, spans, length), strict=True):
        for at in range(stop - start):
            row = {name: column[at] for name, column in sent.items()}
            yield jax.tree.map(
                np.asarray, source.batch(*jax.device_put((dict(source.arrays), row)))
            )


@pytest.mark.parametrize(("workers", "seed"), [slow(0, None), (0, 3), slow(2, None), slow(2, 3)])
def test_streamed_batches_are_the_resident_ones(dataset, tmp_path, workers, seed, monkeypatch):
    monkeypatch.setattr("jaxmodels.data.streamed._READ_AT_ONCE", 24)
    records = dataset.splits["train"]
    columns = decode_once("people/train", records, Decode(), SPEC, tmp_path / "train")
    resident, streamed = Resident(columns), Streamed(records, Decode(), SPEC, workers)
    assert streamed.size == resident.size == SIZE
    assert streamed.spec(8) == resident.spec(8)
    assert streamed.bytes_sent == 16
    order, spans = Order(SIZE, 8, seed), [(2, 5), (5, 9), (9, 10)]
    both = (_batches(source, order, spans, 4) for source in (streamed, resident))
    for a, b in zip(*both, strict=True):
        assert a.keys() == b.keys() == SPEC.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == b[name].dtype
    rows = np.array([5, 0, 5])
    for name, column in streamed.examples(rows).items():
        np.testing.assert_array_equal(column, resident.examples(rows)[name])
        np.testing.assert_array_equal(column, columns[name][rows])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_draw_is_of_the_seed_and_the_position(dataset, workers):
    records, decode = dataset.splits["train"], Decode(noise=1.0)
    order = Order(SIZE, 8, seed=3)
    (sent,) = Streamed(records, decode, SPEC, workers).send(order, [(7, 9)], 2)
    rows, positions = order.rows(7, 9), order.positions(7, 9)
    for at in np.ndindex(2, 8):
        (record,) = records.read([int(rows[at])])
        expected = decode(record, Draw(3, int(positions[at])))
        np.testing.assert_array_equal(sent["features"][at], expected["features"])
        assert (sent["features"][at] != decode(record, None)["features"]).any()
    in_order = Streamed(records, decode, SPEC).examples(np.arange(SIZE))
    np.testing.assert_array_equal(
        in_order["features"],
        Streamed(records, Decode(), SPEC).examples(np.arange(SIZE))["features"],
    )


def test_columns_are_decoded_once_and_only_as_their_spec_says(dataset, tmp_path, capsys):
    records = dataset.splits["test"]
    for attempt in range(2):
        columns = decode_once("people/test", records, Decode(), SPEC, tmp_path / "test")
        assert ("decoding 9 records of people/test" in capsys.readouterr().err) == (attempt == 0)
        np.testing.assert_array_equal(columns["target"], _columns(9, 1)["target"])
        assert all(isinstance(column, np.memmap) for column in columns.values())
    spec = {**SPEC, "features": jax.ShapeDtypeStruct((1,), np.float32)}
    with pytest.raises(InputError, match=r"'features' is decoded to shape \(3,\); expected \(1,\)"):
        decode_once("people/test", records, Decode(), spec, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["test"]
    with pytest.raises(InputError, match="'features' is decoded to shape"):
        Streamed(records, Decode(), spec).examples(np.arange(2))


def test_records_of_arrays_and_selections_of_them():
    records = ArrayRecords({"x": np.arange(12).reshape(6, 2)}, keys=list("abcdef"))
    some = pickle.loads(pickle.dumps(Selection(records, np.array([4, 1, 5]))))
    assert (len(records), len(some), [some.key(row) for row in range(3)]) == (6, 3, ["e", "b", "f"])
    assert [record["x"].tolist() for record in some.read([2, 0])] == [[10, 11], [8, 9]]
    assert ArrayRecords({"x": np.arange(3)}).key(2) == "2"
    for columns in ({}, {"x": np.zeros(0)}, {"x": np.zeros(2), "y": np.zeros(3)}):
        with pytest.raises(InputError, match="lengths"):
            ArrayRecords(columns)


def test_further_splits_are_evaluated_after_test():
    assert evaluation_splits(["hard", "test", "train", "easy", "validation"]) == [
        "validation",
        "test",
        "hard",
        "easy",
    ]


# Checking.


def _inspect(record):
    if not np.isfinite(record["measured"]).all():
        raise BadRecord("has a measurement that is not finite", "non-finite")
    require_class(record["target"], 3)
    return {
        "hash": content_hash(record["measured"], str(record["age"]).encode()),
        "target": record["target"],
        "age": record["age"],
    }


FACTS = [("hash", np.uint64), ("target", np.int32), ("age", np.int32)]


def _check(splits, folder, fraction=0.0):
    parts = carve("people", splits, fraction)
    with whole_folder(folder) as partial:
        tables, bad = inspect_parts("people", parts, _inspect, FACTS)
        bad += duplicates(tables, parts, "numbers")
        oldest = max(int(table["age"][table["good"]].max()) for table in tables.values())
        keep_findings(partial, parts, tables, bad, {"oldest": oldest}, known=("target",))
    return load_findings(folder, parts)


def test_bad_rows_of_a_table_are_found_counted_and_left_out(tmp_path, capsys):
    train, test, hard = _columns(), _columns(9, 1), _columns(4, 2)
    train["measured"][3, 1] = np.nan
    train["target"][5], test["target"][0] = 3, -1
    for name in train:
        train[name][[7, 30]] = test[name][4]
        train[name][8] = hard[name][0]
        train[name][9] = train[name][10]
        hard[name][1] = test[name][5]
    names = [f"person {row}" for row in range(SIZE)]
    splits = {"hard": hard, "train": train, "test": test}
    keys = {"train": names}
    splits = {name: ArrayRecords(some, keys.get(name)) for name, some in splits.items()}
    found = _check(splits, tmp_path / "found")
    assert "checking 37 records of people/train, once" in capsys.readouterr().err
    assert [str(row) for row in found.bad] == [
        "train[3]: person 3 has a measurement that is not finite",
        "train[5]: person 5 has label 3; expected 0 to 2",
        "train[7]: person 7 has the same numbers as test[4]",
        "train[8]: person 8 has the same numbers as hard[0]",
        "train[30]: person 30 has the same numbers as test[4]",
        "test[0]: has label -1 (unknown); expected 0 to 2",
    ]
    with pytest.raises(InputError, match=r"'people' has 6 bad records \(3 duplicate, 2 label, 1 "):
        check_policy("people", found.bad, 5)
    check_policy("people", found.bad, 6)
    assert "note: skipped 6 bad records" in capsys.readouterr().err
    good = [row for row in range(SIZE) if row not in (3, 5, 7, 8, 30)]
    clean = found.splits["train"]
    assert clean.rows.tolist() == good
    np.testing.assert_array_equal(clean.known["target"], train["target"][good])
    assert [record["age"] for record in clean.read([4, 5])] == train["age"][good[4:6]].tolist()
    assert {split: len(some) for split, some in found.splits.items()} == {
        "train": 32,
        "test": 8,
        "hard": 4,
    }
    ages = [train["age"][good], test["age"][1:], hard["age"]]
    assert found.facts == {"oldest": max(map(np.max, ages))}


def test_a_carved_split_goes_by_the_keys_of_the_rows(tmp_path):
    keys = [f"person {row}" for row in range(SIZE)]
    whole = _check({"train": ArrayRecords(_columns(), keys)}, tmp_path / "whole", 0.3)
    assert list(whole.splits) == ["train", "validation"]
    rows = np.arange(SIZE) % 5 > 0
    fewer = {name: column[rows] for name, column in _columns().items()}
    some = _check(
        {"train": ArrayRecords(fewer, [key for key, kept in zip(keys, rows) if kept])},
        tmp_path / "some",
        0.3,
    )
    members = [
        {found.splits["validation"].key(row) for row in range(len(found.splits["validation"]))}
        for found in (whole, some)
    ]
    assert members[1] == {key for key in members[0] if int(key.split()[1]) % 5}
    assert 0 < len(members[1]) < len(members[0])
