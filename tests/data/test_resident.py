"""Batches of a resident split."""

import jax
import numpy as np
import pytest

from jaxmodels.data import Resident, sample_order
from jaxmodels.errors import InputError


@pytest.fixture
def source():
    return Resident({"x": np.arange(22).reshape(11, 2), "label": np.arange(11, dtype=np.int32)})


def _at(sent, row):
    return {name: column[row] for name, column in sent.items()}


def test_training_batches_follow_the_order(source):
    sent = source.order(4, 5, 3, 6)
    batch = jax.jit(source.batch)(source.arrays, _at(sent, 1))
    expected = sample_order(11, 4, 5, 4, 5)[0]
    np.testing.assert_array_equal(batch["label"], expected)
    np.testing.assert_array_equal(batch["x"], source.arrays["x"][expected])
    spec = source.spec(4)
    assert {name: (s.shape, s.dtype) for name, s in spec.items()} == {
        "x": ((4, 2), np.dtype(int)),
        "label": ((4,), np.dtype(np.int32)),
    }


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11, 16])
def test_once_shows_every_example_exactly_once(source, batch_size):
    sent = source.once(batch_size)
    seen = []
    for row in range(len(sent["index"])):
        batch = source.batch(jax.device_put(dict(source.arrays)), _at(sent, row))
        assert batch["label"].shape == (batch_size,)
        seen += batch["label"][batch["valid"]].tolist()
    assert seen == list(range(11))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11, 16])
def test_examples_of_an_evaluation_know_their_position_in_the_split(source, batch_size):
    sent, arrays = source.once(batch_size), jax.device_put(dict(source.arrays))
    seen = []
    for row in range(len(sent["index"])):
        batch = source.batch(arrays, _at(sent, row))
        np.testing.assert_array_equal(batch["x"], source.arrays["x"][batch["position"]])
        seen += batch["position"][batch["valid"]].tolist()
    assert seen == list(range(11))
    trained = source.batch(arrays, _at(source.order(4, 5, 0, 1), 0))
    assert set(trained) == {"x", "label"}


@pytest.mark.parametrize("lengths", [(3, 4), (0, 0)])
def test_bad_columns(lengths):
    with pytest.raises(InputError, match="lengths"):
        Resident({str(i): np.zeros(n) for i, n in enumerate(lengths)})
