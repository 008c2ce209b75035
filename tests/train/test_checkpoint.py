"""Checkpoints are what was written, or it is said that they are not."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError, RunError
from jaxmodels.train.checkpoint import Checkpoints, DamagedCheckpoint, Facts
from jaxmodels.train.digest import digests_by_name, written
from jaxmodels.train.layout import make_mesh, shardings_of
from tests.marks import slow_but

TREE = {
    "state": {"step": jnp.int32(3), "w": jnp.arange(600.0).reshape(20, 30), "key": jnp.uint8(7)},
    "window": {"loss": jnp.float32(0.5)},
}
LIKE = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), TREE)
FACTS = Facts(lines=4, lines_hash="abc")


def _tree(step):
    return jax.tree.map(lambda leaf: (leaf + step).astype(leaf.dtype), TREE)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoints of steps 10 and 20."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(folder, write=True)
    for step in (10, 20):
        checkpoints.save(step, _tree(step), FACTS._replace(score=float(step)))
    checkpoints.close()
    return folder


def _equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def _flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


DAMAGE = {
    "flip": _flip,
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "delete": lambda content: None,
}


@pytest.mark.parametrize("kind", slow_but("flip", DAMAGE))
def test_damage_to_any_file_is_noticed_or_harmless(saved, tmp_path, capsys, kind):
    names = [path.relative_to(saved) for path in (saved / "20").rglob("*") if path.is_file()]
    noticed = 0
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(saved, folder)
        content = (folder / name).read_bytes()
        damaged = DAMAGE[kind](content) if content else None
        if damaged is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(damaged)
        restored = Checkpoints(folder).restore_newest(LIKE)
        assert restored.step in (10, 20)
        assert _equal(restored.tree, _tree(restored.step)), name
        said = capsys.readouterr().err
        assert (restored.step == 10) == ("10 steps are repeated" in said), name
        assert said.count("\n") == (restored.step == 10)
        noticed += restored.step == 10
    assert noticed >= 3


def test_a_changed_array_is_named(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    largest = max((folder / "20" / "default").rglob("d/*"), key=lambda path: path.stat().st_size)
    noticed = []
    for at in range(0, largest.stat().st_size, 200):
        content = bytearray(largest.read_bytes())
        content[at] ^= 1
        largest.write_bytes(content)
        try:
            assert _equal(Checkpoints(folder).restore(20, LIKE).tree, _tree(20))
        except DamagedCheckpoint as error:
            noticed.append(str(error))
        content[at] ^= 1
        largest.write_bytes(content)
    assert noticed and all(f"{folder / '20'} is damaged: " in text for text in noticed)


def test_all_damaged_is_an_error(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    for manifest in folder.rglob("default/manifest.ocdbt"):
        manifest.write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match=r"20 is damaged.*so are those before"):
        Checkpoints(folder).restore_newest(LIKE)


def test_another_structure_is_other_code_not_damage(saved):
    wider = {**LIKE, "state": {**LIKE["state"], "w": jax.ShapeDtypeStruct((20, 31), jnp.float32)}}
    expected = r"array state.w is float32\[20, 30\] there and float32\[20, 31\] here"
    with pytest.raises(InputError, match=f"does not fit this code: {expected}") as error:
        Checkpoints(saved).restore_newest(wider)
    assert not isinstance(error.value, DamagedCheckpoint)


def test_newest_and_best_are_kept_and_a_step_can_be_saved_again(tmp_path):
    checkpoints = Checkpoints(tmp_path, write=True, keep=3)
    for step in range(1, 8):
        checkpoints.save(step, _tree(step), FACTS._replace(score=1.0 if step == 2 else None))
    checkpoints.wait()
    assert (checkpoints.steps(), checkpoints.best()) == ([2, 5, 6, 7], 2)
    checkpoints.save(7, _tree(8), FACTS._replace(evaluated=False))
    checkpoints.wait()
    restored = checkpoints.restore(7, LIKE)
    assert _equal(restored.tree, _tree(8))
    assert restored.facts == FACTS._replace(evaluated=False)
    checkpoints.delete_after(5)
    assert checkpoints.steps() == [2, 5]
    checkpoints.close()


def test_what_cannot_be_written_is_one_line(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", write=True)
    checkpoints.save(1, TREE, FACTS)
    checkpoints.wait()
    (tmp_path / "c").rename(tmp_path / "moved")
    (tmp_path / "c").write_text("in the way")
    with pytest.raises(RunError, match=r"checkpoints in .*/c cannot be written: ") as error:
        checkpoints.save(2, TREE, FACTS)
        checkpoints.wait()
    assert "\n" not in str(error.value)
    with pytest.raises(RunError, match="cannot be written"):
        checkpoints.close()


LEAVES = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.arange(6, dtype=np.int8),
    np.array(5, np.uint32),
    np.array([True, False, True]),
    np.arange(4, dtype=np.float16),
    np.zeros((2, 3), np.complex64),
]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: str(leaf.dtype))
def test_a_checksum_changes_with_every_bit(leaf):
    original = digests_by_name({"a": leaf})["a"]
    seen = {original}
    bits = 1 if leaf.dtype == bool else 8
    for at in range(leaf.nbytes):
        for bit in range(bits):
            changed = bytearray(leaf.tobytes())
            changed[at] ^= 1 << bit
            other = np.frombuffer(bytes(changed), leaf.dtype).reshape(leaf.shape)
            seen.add(digests_by_name({"a": other})["a"])
    assert len(seen) == 1 + bits * leaf.nbytes
    assert digests_by_name({"a": leaf.copy()})["a"] == original


def test_a_checksum_does_not_depend_on_devices():
    array = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    divided = jax.device_put(array, shardings_of(make_mesh()).batch)
    assert len(divided.sharding.device_set) == jax.device_count() > 1
    assert digests_by_name([divided]) == digests_by_name([jnp.asarray(array)])
    assert written(np.array([1, 0xABCDEF12], np.uint32)) == "00000001abcdef12"
