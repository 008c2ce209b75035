"""Files of every format open by their headers, and damaged ones end in one line."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile

import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxmodels.errors import InputError
from jaxmodels.pretrained import open_weights, require_stored
from tests.pretrained import pickles

ARRAYS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.arange(4, dtype=np.float16),
    "count": np.arange(3, dtype=np.int64),
}


def _gguf(path, arrays, quantized=()):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_array("tokens", ["a", "ü"])
    writer.add_array("types", [1, 2, 3])
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    for name, array, kind in quantized:
        writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _ctranslate2(path, arrays, aliases=()):
    kinds = ["float32", "int8", "int16", "int32", "float16", "bfloat16"]

    def text(name):
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    content = struct.pack("<I", 6) + text("ToySpec") + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        content += text(name) + struct.pack("<B", array.ndim)
        content += struct.pack(f"<{array.ndim}I", *array.shape)
        content += struct.pack("<BI", kinds.index(str(array.dtype)), array.nbytes) + array.tobytes()
    content += struct.pack("<I", len(aliases)) + b"".join(map(text, sum(aliases, ())))
    path.write_bytes(content)


CT2 = {**ARRAYS, "count": np.arange(3, dtype=np.int32)}
SAVE = {
    "safetensors": ("w.safetensors", safetensors.numpy.save_file, ARRAYS),
    "npz": ("w.npz", lambda a, path: np.savez(path, **a), ARRAYS),
    "npz, compressed": ("w.npz", lambda a, path: np.savez_compressed(path, **a), ARRAYS),
    "gguf": ("w.gguf", lambda a, path: _gguf(path, a), ARRAYS),
    "ctranslate2": ("model.bin", lambda a, path: _ctranslate2(path, a), CT2),
    "torch": ("w.pth", lambda a, path: pickles.save(path, a), ARRAYS),
    "torch, legacy": ("w.pt", lambda a, path: pickles.save_legacy(path, a), ARRAYS),
}


def _error(path):
    with pytest.raises(InputError) as raised:
        for stored in open_weights(path).values():
            stored.read()
    message = str(raised.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("kind", SAVE)
def test_arrays_come_back(tmp_path, kind):
    name, save, arrays = SAVE[kind]
    save(arrays, tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        weights = open_weights(path)
        assert weights.keys() == arrays.keys() and weights.files == (tmp_path / name,)
        for key, array in arrays.items():
            assert (weights[key].shape, weights[key].dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(weights[key].read(), array)


@pytest.mark.parametrize("kind", SAVE)
def test_every_cut_and_many_flips_are_one_line_or_arrays(tmp_path, kind):
    name, save, arrays = SAVE[kind]
    save(arrays, path := tmp_path / name)
    content = path.read_bytes()
    for size in np.unique(np.linspace(0, len(content) - 1, 40, dtype=int)):
        path.write_bytes(content[:size])
        try:
            weights = open_weights(path)
            assert kind == "gguf" and weights.keys() <= arrays.keys()  # its end is padding
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
    generator = np.random.default_rng(0)
    for at in generator.integers(0, len(content), 150):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        try:
            for stored in open_weights(path).values():
                assert stored.read().shape == stored.shape
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_what_lies_in_the_file_as_it_is_is_mapped(tmp_path):
    for kind in ("safetensors", "npz", "gguf", "ctranslate2", "torch", "torch, legacy"):
        name, save, arrays = SAVE[kind]
        save(arrays, tmp_path / name)
        array = open_weights(tmp_path / name)["a.weight"].read()
        assert not array.flags.owndata and not array.flags.writeable, kind


def test_shards(tmp_path):
    for number, names in enumerate((["a.weight"], ["a.bias", "count"])):
        part = {name: ARRAYS[name] for name in names}
        safetensors.numpy.save_file(part, tmp_path / f"m{number}.safetensors")
    places = {"a.weight": "m0.safetensors", "a.bias": "m1.safetensors", "count": "m1.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text('{"model_type": "toy"}')
    weights = open_weights(tmp_path)
    assert weights.config == {"model_type": "toy"} and len(weights.files) == 2
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(weights[name].read(), array)
    for wrong, message in (
        ({**places, "b": "m1.safetensors"}, "b is not in its shard m1.safetensors"),
        ({**places, "a.bias": "m2.safetensors"}, "'m2.safetensors', which does not lie beside"),
        ({**places, "a.bias": "../m1.safetensors"}, "which does not lie beside"),
        ({"a": 3}, "is no index of shards"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        assert message in _error(tmp_path)
    index.write_text("{")
    assert "is no index of shards" in _error(tmp_path)
    index.unlink()
    assert "holds several files of weights: m0.safetensors, m1.safetensors" in _error(tmp_path)


def test_what_is_no_file_of_weights(tmp_path):
    assert "holds no weights; expected model.safetensors.index.json" in _error(tmp_path)
    assert "does not exist" in _error(tmp_path / "none")
    (tmp_path / "w.tar").write_bytes(b"x")
    assert "has suffix '.tar'; expected .safetensors" in _error(tmp_path / "w.tar")
    safetensors.numpy.save_file(ARRAYS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InputError, match=r"config.json is not readable as JSON"):
        open_weights(tmp_path)


def test_a_header_of_safetensors_is_bounded(tmp_path):
    path = tmp_path / "w.safetensors"
    for content in (
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        b'\x40\0\0\0\0\0\0\0{"a/bias":{"dtype":"F32","shape":[4],"data_offsets":[0,99999999]}}',
    ):
        path.write_bytes(content)
        assert "is not readable as safetensors" in _error(path)


def test_quantized_arrays_are_decoded(tmp_path):
    kinds = gguf.GGMLQuantizationType
    array = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    quantized = [(kind.name, array, kind) for kind in (kinds.Q8_0, kinds.Q4_0, kinds.Q4_1)]
    half = array.astype(ml_dtypes.bfloat16)
    _gguf(path := tmp_path / "w.gguf", {}, [*quantized, ("BF16", array, kinds.BF16)])
    weights = open_weights(path)
    assert weights.config["tokens"] == ["a", "ü"] and weights.config["types"] == [1, 2, 3]
    assert weights.config["llama.block_count"] == 2
    np.testing.assert_array_equal(weights["BF16"].read().astype(np.float32), half)
    for name, *_ in quantized:
        assert (weights[name].shape, weights[name].dtype) == ((3, 64), np.float32)
        # A step of the numbers of a block, which has 256 or 16 of them.
        blocks = array.reshape(-1, 32)
        widths = blocks.max(1) - blocks.min(1) if name == "Q4_1" else 2 * abs(blocks).max(1)
        step = widths.max() / (254 if name == "Q8_0" else 15)
        assert 0 < abs(weights[name].read() - array).max() <= 1.01 * step, name


def test_q4_1_as_defined(tmp_path):
    # ggml: a block is a scale and a minimum in half precision and 32 numbers of 4 bits, of which a
    # byte holds number i below and number i + 16 above.
    packed = np.arange(16, dtype=np.uint8) | (np.arange(15, -1, -1, dtype=np.uint8) << 4)
    block = np.array([0.5, -1], np.float16).tobytes() + packed.tobytes()
    writer = gguf.GGUFWriter(tmp_path / "w.gguf", "llama")
    kind = gguf.GGMLQuantizationType.Q4_1
    writer.add_tensor("a", np.frombuffer(block, np.uint8)[None], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    numbers = np.concatenate([np.arange(16), np.arange(15, -1, -1)])
    read = open_weights(tmp_path / "w.gguf")["a"].read()
    np.testing.assert_array_equal(read, (numbers * 0.5 - 1)[None].astype(np.float32))


def test_scales_aliases_and_scalars_of_ctranslate2(tmp_path):
    rows = np.array([[127, -64], [1, 127]], np.int8)
    arrays = {
        "a/weight": rows,
        "a/weight_scale": np.array([2, 4], np.float32),
        "b/heads": np.int8(6) * np.ones((), np.int8),
        "c/weight": np.arange(4, dtype=np.int16),
        "c/weight_scale": np.float32(2) * np.ones((), np.float32),
    }
    aliases = [("d/weight", "a/weight"), ("d/weight_scale", "a/weight_scale")]
    _ctranslate2(tmp_path / "model.bin", arrays, aliases)
    weights = open_weights(tmp_path)
    assert weights.config == {"spec": "ToySpec", "revision": 3, "b/heads": 6}
    assert weights.keys() == {"a/weight", "c/weight", "d/weight"}
    for name in ("a/weight", "d/weight"):
        expected = rows.astype(np.float32) / [[2], [4]]
        np.testing.assert_array_equal(weights[name].read(), expected)
    np.testing.assert_array_equal(weights["c/weight"].read(), np.arange(4) / np.float32(2))


def test_other_versions_are_named(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<I", 5) + bytes(40))
    assert "is not readable as CTranslate2: binary version 5; expected 6" in _error(path)
    path = tmp_path / "w.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 1) + bytes(40))
    assert "is not readable as GGUF: version 1; expected 2 or 3" in _error(path)


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zip(path, parts):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_what_would_unpack_to_far_more_is_not_unpacked(tmp_path):
    lying = _npy(np.ones(4, np.float32)) + bytes(1 << 24)
    header = b"\x93NUMPY\x02\x00" + (1 << 24).to_bytes(4, "little") + b" " * (1 << 24)
    _zip(tmp_path / "huge.npz", {"x.npy": _npy(np.zeros(1 << 22, np.float32))})
    _zip(tmp_path / "longer.npz", {"a.npy": lying})
    _zip(tmp_path / "header.npz", {"a.npy": header})
    _zip(tmp_path / "w.pth", {"w/data.pkl": bytes(1 << 24)})
    del lying, header
    tracemalloc.start()
    assert open_weights(tmp_path / "huge.npz")["x"].shape == (1 << 22,)
    for name in ("longer.npz", "header.npz", "w.pth"):
        _error(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_objects_of_npz_are_refused(tmp_path):
    np.savez(path := tmp_path / "w.npz", a=np.array([{}], object))
    assert "a has type |O; expected numbers" in _error(path)


def test_an_array_of_fortran_order(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.asfortranarray(ARRAYS["a.weight"]))
    np.testing.assert_array_equal(open_weights(tmp_path)["a"].read(), ARRAYS["a.weight"])


def test_a_zip_that_unpacks_to_more_than_it_is(tmp_path):
    _zip(tmp_path / "w.pth", {"data.pkl": bytes(1 << 20)})
    with pytest.raises(InputError, match=r"w.pth would unpack to 1,048,576 bytes from"):
        require_stored(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"none")
    require_stored(tmp_path / "w.pth")


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_execute_is_refused_without_executing(tmp_path, protocol):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    path = tmp_path / "w.pth"
    for save in (pickles.save, pickles.save_legacy):
        save(path, ARRAYS, {"harm": Harm()}, protocol)
        message = _error(path)
        assert "io.open, which is neither" in message and "run any code" in message
    path.write_bytes(pickle.dumps(Harm()))
    _error(path)
    assert not (tmp_path / "harm").exists()


def test_names_of_checkpoints_and_of_nested_dictionaries(tmp_path):
    array = ARRAYS["a.weight"]
    pickles.save(tmp_path / "w.pt", {"epoch": 3, "state_dict": {"x": {"y": array}}, "no": array})
    assert open_weights(tmp_path / "w.pt").keys() == {"x.y"}


def test_views_stay_in_their_storage(tmp_path):
    path = tmp_path / "w.pth"
    pickles.save(path, {"a": pickles.View(ARRAYS["a.weight"], 1, (4, 2), (1, 4))})
    expected = ARRAYS["a.weight"].ravel()[[[1, 5], [2, 6], [3, 7], [4, 8]]]
    np.testing.assert_array_equal(open_weights(path)["a"].read(), expected)
    for offset, shape, strides in ((9, (4,), (1,)), (0, (2, 2), (1, 12)), (-1, (1,), (1,))):
        pickles.save(path, {"a": pickles.View(ARRAYS["a.weight"], offset, shape, strides)})
        assert "is not readable as PyTorch: a tensor" in _error(path)
