"""The Inception network and its converter against torch-fidelity and pytorch-fid.

The published weights need a network; random ones show the same, since both references, built from
one file, agree. Batch normalisation gets the statistics of the images, disturbed: without them the
features of a deep random network hardly depend on the image, and any two networks would agree.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.inception import FIDInception
from jaxmodels.models.inception_weights import convert, load_inception, main
from jaxmodels.ops import cpu_compiler_options
from tests.marks import campaign
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
fid = pytest.importorskip("pytorch_fid.inception")
interpolate = fidelity.interpolate_bilinear_2d_like_tensorflow1x
pytestmark = pytest.mark.parity

RTOL, ATOL = 1e-4, 3e-5


def some_images(size):
    """Blocks of three sizes, as bytes [3, size, size, 3]."""
    generator = np.random.default_rng(0)
    images = []
    for blocks in (2, 5, size):
        image = generator.integers(0, 256, (blocks, blocks, 3), np.uint8)
        repeat = -(-size // blocks)
        images.append(image.repeat(repeat, 0).repeat(repeat, 1)[:size, :size])
    return np.stack(images)


def as_torch(images):
    return torch.tensor(images).permute(0, 3, 1, 2)


def random_network():
    """pytorch-fid's network with all its parameters and statistics random."""
    torch.manual_seed(0)
    with (
        mock.patch.object(fid, "load_state_dict_from_url"),
        mock.patch.object(torch.nn.Module, "load_state_dict"),
    ):
        network = fid.fid_inception_v3()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.3)
        network.train()((as_torch(some_images(299)) - 128.0) / 128)
        for norm in norms:
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn(norm.num_features)
            norm.running_var *= torch.empty(norm.num_features).uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The file of a random network, in place of the published one."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(random_network().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def variables(published):
    target = published.with_suffix(".safetensors")
    assert main([str(published), str(target)]) == 0
    return load_inception(target)


@pytest.fixture(scope="module")
def references(published):
    """torch-fidelity's network, which resizes and scales itself, and pytorch-fid's bare one."""
    first = fidelity.FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=published
    )
    with mock.patch.object(fid, "load_state_dict_from_url", lambda *_, **__: torch.load(published)):
        second = fid.InceptionV3(resize_input=False, normalize_input=False)
    return first, second.eval()


def assert_close(actual, expected):
    expected = expected.numpy()
    # Otherwise networks that hardly look at the image would agree.
    assert expected.std(axis=0).mean() > 1000 * ATOL
    np.testing.assert_allclose(actual, expected, rtol=RTOL, atol=ATOL)


def test_both_suffixes_hold_the_same(published, variables):
    convert(published, target := published.with_suffix(".npz"))
    jax.tree.map(np.testing.assert_array_equal, load_inception(target), variables)


@pytest.mark.parametrize("size", [28, campaign(32), 299])
def test_features_and_logits_equal_both_libraries(variables, references, size):
    torch_fidelity, pytorch_fid = references
    images = some_images(size)
    apply = jax.jit(FIDInception().apply, compiler_options=cpu_compiler_options())
    actual = apply(variables, jnp.asarray(images, jnp.float32))

    images = as_torch(images)
    features, logits = torch_fidelity(images)
    assert_close(actual.features, features)
    assert_close(actual.logits, logits)
    resized = interpolate(images.float(), size=(299, 299), align_corners=False)
    assert_close(actual.features, pytorch_fid((resized - 128) / 128)[0][:, :, 0, 0])


def test_other_pytorch_files_are_refused(tmp_path, published):
    state = torch.load(published)
    aside = {**state, "AuxLogits.fc.weight": torch.zeros(2, 3)}
    del aside["fc.weight"]
    turned = {**state, "fc.weight": state["fc.weight"].T}
    path, target = tmp_path / "weights.pth", tmp_path / "weights.npz"
    for content, message in (
        ([1.0], "it holds no named tensors"),
        (aside, "it lacks fc.weight; it has unknown AuxLogits.fc.weight$"),
        (turned, r"fc.weight has shape \(2048, 1008\); expected \(1008, 2048\), it is transposed"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            convert(path, target)
    for content in (b"", b"no weights", published.read_bytes()[:100_000]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"is not readable as PyTorch: ."):
            convert(path, target)
    assert not target.exists()


def test_a_target_that_cannot_be_written(tmp_path, published):
    (tmp_path / "file").write_text("")
    for suffix in ("npz", "safetensors"):
        with pytest.raises(InputError, match=r"cannot write .*: (File exists|Not a directory)"):
            convert(published, tmp_path / "file" / f"weights.{suffix}")


def test_a_pickle_that_would_run_code_and_a_view_that_would_grow_are_refused(tmp_path, capsys):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    path, target = tmp_path / "weights.pth", str(tmp_path / "out.npz")
    grown = torch.zeros(1).expand(1 << 40)
    for state, said in (
        ({"a": Harm()}, "could run any code"),
        ({"fc.weight": grown}, "it lacks"),
        ({"a": 3}, "it holds no named tensors"),
        ([1], "it holds no named tensors"),
    ):
        torch.save(state, path)
        assert main([str(path), target]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {path}") and said in error and error.count("\n") == 1
    assert not (tmp_path / "harm").exists()
