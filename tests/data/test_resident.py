"""Batches of a resident split."""

import jax
import numpy as np
import pytest

from jaxmodels.data import Resident, sample_order
from jaxmodels.errors import InputError
from jaxmodels.order import Order


@pytest.fixture
def source():
    return Resident({"x": np.arange(22).reshape(11, 2), "label": np.arange(11, dtype=np.int32)})


def test_training_batches_follow_the_order(source):
    first, second = source.send(Order(11, 4, seed=5), [(2, 3), (3, 6)], length=4)
    assert first["row"].shape == second["row"].shape == (4, 4)
    arrays = jax.device_put(dict(source.arrays))
    batch = jax.jit(source.batch)(arrays, {"row": second["row"][1]})
    expected = sample_order(11, 4, 5, 4, 5)[0]
    np.testing.assert_array_equal(batch["label"], expected)
    np.testing.assert_array_equal(batch["x"], source.arrays["x"][expected])
    spec = source.spec(4)
    assert {name: (s.shape, s.dtype) for name, s in spec.items()} == {
        "x": ((4, 2), np.dtype(int)),
        "label": ((4,), np.dtype(np.int32)),
    }


@pytest.mark.parametrize("lengths", [(3, 4), (0, 0)])
def test_bad_columns(lengths):
    with pytest.raises(InputError, match="lengths"):
        Resident({str(i): np.zeros(n) for i, n in enumerate(lengths)})
