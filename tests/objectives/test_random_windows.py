"""Random windows lie in their sounds, anywhere in them, whatever else is in the batch."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmodels.objectives.random_windows import make_random_windows

LENGTHS = jnp.tile(jnp.array([3, 8, 12, 20], jnp.int32), 60)


def batch():
    """Sounds 1, 2, 3, ... with zeros behind them."""
    places = jnp.arange(20)[None]
    sound = jnp.where(places < LENGTHS[:, None], places + 1, 0).astype(jnp.int16)
    return {"sound": sound, "length": LENGTHS, "label": jnp.zeros(240, jnp.int32)}


def test_windows_lie_in_their_sounds_and_reach_all_of_them():
    cut = jax.jit(make_random_windows(8))(batch(), jax.random.key(0))
    windows, lengths = np.asarray(cut["sound"]), np.asarray(cut["length"])
    starts = windows[:, 0] - 1
    for row, start, length in zip(windows, starts, lengths):
        np.testing.assert_array_equal(row[:length], start + 1 + np.arange(length))
        assert not row[length:].any()
    assert (lengths == np.minimum(np.asarray(LENGTHS), 8)).all()
    for kind, last in enumerate([0, 0, 4, 12]):
        assert set(starts[kind::4].tolist()) == set(range(last + 1))
    assert cut["label"].shape == (240,)


def test_a_window_depends_on_key_and_position_alone():
    cut, some = make_random_windows(8), {name: x[100:] for name, x in batch().items()}
    whole = cut(batch(), jax.random.key(1))["sound"]
    part = cut({**some, "position": jnp.arange(100, 240)}, jax.random.key(1))["sound"]
    np.testing.assert_array_equal(whole[100:], part)
    assert (whole != cut(batch(), jax.random.key(2))["sound"]).any()
