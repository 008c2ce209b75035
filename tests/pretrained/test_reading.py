"""Files of weights are told apart by their headers, before anything is unpacked."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from jaxmodels.errors import InputError
from jaxmodels.pretrained import read_weights, require_stored

SHAPES = {"a/kernel": (3, 4), "a/bias": (4,)}
SAVE = {
    ".npz": lambda path, weights: np.savez(path, **weights),
    ".safetensors": lambda path, weights: safetensors.numpy.save_file(weights, path),
}


def _weights(dtype=np.float32):
    return {name: np.ones(shape, dtype) for name, shape in SHAPES.items()}


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zip(path, parts):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def _error(path):
    with pytest.raises(InputError) as raised:
        read_weights(path, SHAPES, "toy")
    message = str(raised.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


@pytest.mark.parametrize("suffix", SAVE)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_come_back(tmp_path, suffix, dtype):
    SAVE[suffix](path := tmp_path / f"w{suffix}", _weights(dtype))
    for name, values in read_weights(path, SHAPES, "toy").items():
        assert (values.shape, values.dtype) == (SHAPES[name], dtype) and (values == 1).all()


@pytest.mark.parametrize("suffix", SAVE)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a/bias": np.ones(5, np.float32)}, r"a/bias has shape (5,); expected (4,)"),
        ({"b": np.ones(3, np.float32)}, "has unknown b"),
        ({"a/bias": np.array([1, np.nan, 1, 1], np.float32)}, "a/bias has numbers that are not"),
        ({"a/kernel": np.full((3, 4), np.inf, np.float32)}, "a/kernel has numbers that are not"),
        ({"a/bias": np.ones(4, np.int64)}, "a/bias has type"),
    ],
)
def test_other_weights_are_named(tmp_path, suffix, change, message):
    SAVE[suffix](path := tmp_path / f"w{suffix}", _weights() | change)
    assert message in _error(path)


def test_what_unpacks_to_far_more_is_refused_before_it_is_unpacked(tmp_path):
    huge = _npy(np.zeros(1 << 25, np.float32))  # 128 MB from 128 KB
    lying = _npy(np.ones(4, np.float32)) + bytes(1 << 27)
    path = tmp_path / "w.npz"
    kernel = {"a/kernel.npy": _npy(np.ones((3, 4), np.float32))}
    _zip(tmp_path / "name.npz", kernel | {"x.npy": huge})
    _zip(tmp_path / "shape.npz", kernel | {"a/bias.npy": huge})
    _zip(tmp_path / "longer.npz", kernel | {"a/bias.npy": lying})
    header = b"\x93NUMPY\x02\x00" + (1 << 27).to_bytes(4, "little") + b" " * (1 << 27)
    _zip(tmp_path / "header.npz", kernel | {"a/bias.npy": header})
    del huge, lying, header
    tracemalloc.start()
    for name in ("name", "shape", "longer", "header"):
        path = tmp_path / f"{name}.npz"
        assert path.stat().st_size < 1 << 20
        _error(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 25
    tracemalloc.stop()


def test_a_pickle_is_never_executed(tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    objects = np.empty(4, object)
    objects[0] = Harm()
    path = tmp_path / "w.npz"
    np.savez(path, **{"a/kernel": np.ones((3, 4)), "a/bias": objects})
    assert "a/bias has type |O; expected floats" in _error(path)
    path.write_bytes(pickle.dumps(Harm()))
    _error(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("suffix", SAVE)
def test_every_cut_and_many_flips_are_one_line_or_the_same_shapes(tmp_path, suffix):
    SAVE[suffix](path := tmp_path / f"w{suffix}", _weights())
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        _error(path)
    generator = np.random.default_rng(0)
    for at in generator.integers(0, len(content), 300):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        try:
            read = read_weights(path, SHAPES, "toy")
            assert {name: values.shape for name, values in read.items()} == SHAPES
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_a_header_of_safetensors_is_bounded(tmp_path):
    path = tmp_path / "w.safetensors"
    for content in (
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        b'\x40\0\0\0\0\0\0\0{"a/bias":{"dtype":"F32","shape":[4],"data_offsets":[0,99999999]}}',
    ):
        path.write_bytes(content)
        _error(path)


def test_a_zip_that_unpacks_to_more_than_it_is(tmp_path):
    _zip(tmp_path / "w.pth", {"data.pkl": bytes(1 << 20)})
    with pytest.raises(InputError, match=r"w.pth would unpack to 1,048,576 bytes from"):
        require_stored(tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("data.pkl", bytes(1000))
    require_stored(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"none")
    require_stored(tmp_path / "w.pth")
