"""The Inception network and the files of its weights, without torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

from jaxmodels.errors import InputError
from jaxmodels.models.inception import FIDInception, resize_as_tensorflow1
from jaxmodels.models.inception_weights import load_inception, main

KERNEL = "Mixed_6b/branch7x7_2/conv/kernel"
SAVE = {
    "npz": lambda path, weights: np.savez(path, **weights),
    "safetensors": lambda path, weights: safetensors.numpy.save_file(weights, path),
}


def images(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(FIDInception().init, jax.random.key(0), images(1, 8, 8, 3))


@pytest.fixture(scope="module")
def weights(shapes):
    generator = np.random.default_rng(0)
    return {
        name: generator.random(leaf.shape, dtype=np.float32)
        for name, leaf in flatten_dict(shapes["params"], sep="/").items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("size", [(299, 299), (28, 28), (5, 7)])
def test_features_and_logits_for_any_size(shapes, size):
    output = jax.eval_shape(FIDInception().apply, shapes, images(2, *size, 3))
    assert (output.features, output.logits) == (images(2, 2048), images(2, 1008))


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (28, 28, 3)])
def test_what_is_no_batch_of_coloured_images_is_refused(shapes, shape):
    with pytest.raises(InputError, match=r"expected \[batch, height, width, 3\] .repeat"):
        jax.eval_shape(FIDInception().apply, shapes, images(*shape))


@pytest.mark.parametrize("size", [(1, 2), (28, 28), (299, 32), (301, 640)])
def test_resize_reads_at_corners_and_repeats_the_last_pixel(size):
    def resized(line):
        return np.interp(np.arange(299) * len(line) / 299, np.arange(len(line)), line)

    x = np.random.default_rng(0).uniform(0, 255, (2, *size, 3))
    expected = np.apply_along_axis(resized, 2, np.apply_along_axis(resized, 1, x))
    actual = resize_as_tensorflow1(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(actual, expected, atol=0.02)


def test_resize_leaves_images_of_that_size_alone():
    x = jax.random.uniform(jax.random.key(0), (1, 299, 299, 3)) * 255
    np.testing.assert_array_equal(resize_as_tensorflow1(x), x)


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_compute_in_full_float32(shapes, platform):
    exported = jax.export.export(jax.jit(FIDInception().apply), platforms=[platform])
    program = exported(shapes, images(2, 32, 32, 3)).mlir_module()
    products = [
        line
        for line in program.splitlines()
        if "= stablehlo.convolution" in line or "= stablehlo.dot_general" in line
    ]
    assert len(products) == 94 + 1
    for line in products:
        assert line.count("HIGHEST") == 2, line


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SAVE)
def test_weights_come_back_from_a_file(tmp_path, shapes, weights, suffix):
    SAVE[suffix](path := tmp_path / f"weights.{suffix}", weights)
    variables = load_inception(path)
    assert jax.tree.map(lambda x: images(*x.shape), variables) == shapes
    loaded = flatten_dict(variables["params"], sep="/")
    for name, value in weights.items():
        np.testing.assert_array_equal(loaded[name], value)


@pytest.mark.parametrize("suffix", SAVE)
def test_a_kernel_of_another_shape_is_named(tmp_path, weights, suffix):
    turned = {**weights, KERNEL: np.zeros((7, 1, 128, 128), np.float32)}
    SAVE[suffix](path := tmp_path / f"weights.{suffix}", turned)
    expected = rf"{KERNEL} has shape \(7, 1, 128, 128\); expected \(1, 7, 128, 128\)"
    with pytest.raises(InputError, match=expected):
        load_inception(path)


def test_lacking_and_unknown_names_are_listed(tmp_path, weights):
    others = {name: array for name, array in weights.items() if name != KERNEL}
    np.savez(path := tmp_path / "weights.npz", **others, new=np.zeros(0))
    with pytest.raises(InputError, match=f"it lacks {KERNEL}; it has unknown new$"):
        load_inception(path)
    np.savez(path, **{KERNEL: weights[KERNEL]})
    with pytest.raises(InputError, match=r"it lacks Conv2d_1a_3x3/bn/bias, .* and 465 more$") as e:
        load_inception(path)
    assert str(e.value).count(", ") == 4


@pytest.mark.parametrize("suffix", SAVE)
def test_files_that_cannot_be_read(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    with pytest.raises(InputError, match=rf"weights.{suffix} does not exist"):
        load_inception(path)
    SAVE[suffix](path, {KERNEL: np.ones(99)})
    content = path.read_bytes()
    for broken in (b"", b"no weights", content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=rf"weights.{suffix} is not readable as {suffix}: ."):
            load_inception(path)


def one_error_line(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_converter_says_what_is_wrong_in_one_line(tmp_path, capsys):
    source = tmp_path / "weights.pth"
    assert f"{source} does not exist" in one_error_line(capsys, source, tmp_path / "out.npz")
    source.touch()
    assert "suffix '.h5'" in one_error_line(capsys, source, tmp_path / "out.h5")
    assert "is not readable as PyTorch" in one_error_line(capsys, source, tmp_path / "out.npz")
