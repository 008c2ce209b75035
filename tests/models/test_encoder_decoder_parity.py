"""The blocks of encoder and decoder, and their gradients, beside those of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.encoder_decoder_block import DecoderBlock, EncoderBlock
from jaxmodels.models.layers.stack import BlockInputs

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

WIDTH, HEADS, HIDDEN = 8, 2, 12


def attention_of(theirs, prefix=""):
    """The parameters of an attention of ours from PyTorch's, which joins three kernels."""
    kernels = np.split(theirs.in_proj_weight.detach().numpy(), 3)
    biases = np.split(theirs.in_proj_bias.detach().numpy(), 3)
    found = {
        f"{prefix}{name}": {"kernel": kernel.T, "bias": bias}
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases)
    }
    return found | {f"{prefix}out": dense_of(theirs.out_proj)}


def dense_of(theirs):
    return {"kernel": theirs.weight.detach().numpy().T, "bias": theirs.bias.detach().numpy()}


def norm_of(theirs):
    return {"scale": theirs.weight.detach().numpy(), "bias": theirs.bias.detach().numpy()}


def drawn(layer):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return layer.eval()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_blocks_and_gradients_are_those_of_torch(first, side):
    options = {"dropout": 0.0, "batch_first": True, "norm_first": first}
    kind = (
        torch.nn.TransformerEncoderLayer if side == "encoder" else torch.nn.TransformerDecoderLayer
    )
    theirs = drawn(kind(WIDTH, HEADS, HIDDEN, **options))
    params = attention_of(theirs.self_attn)
    params |= {name: dense_of(getattr(theirs, name)) for name in ("linear1", "linear2")}
    params["norm1"] = norm_of(theirs.norm1)
    if side == "encoder":
        params["norm2"] = norm_of(theirs.norm2)
    else:
        params |= attention_of(theirs.multihead_attn, "cross_")
        params |= {"norm3": norm_of(theirs.norm2), "norm2": norm_of(theirs.norm3)}
    generator = np.random.default_rng(0)
    x, memory = (generator.normal(size=(2, length, WIDTH)).astype("float32") for length in (5, 4))
    valid = np.array([[1, 1, 1, 0, 0], [1] * 5], bool)
    memory_valid = np.array([[1, 1, 0, 0], [1] * 4], bool)

    tx, tm = (torch.tensor(array, requires_grad=True) for array in (x, memory))
    if side == "encoder":
        y = theirs(tx, src_key_padding_mask=torch.tensor(~valid))
        counted = valid
        block = EncoderBlock(WIDTH, HEADS, HIDDEN, normalises_first=first)
        inputs = BlockInputs(valid=jnp.asarray(valid))
    else:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(5)
        padding = torch.tensor(~memory_valid)
        y = theirs(tx, tm, tgt_mask=mask, memory_key_padding_mask=padding)
        counted = np.ones((2, 5), bool)
        block = DecoderBlock(WIDTH, HEADS, HIDDEN, normalises_first=first)
        inputs = BlockInputs(memory_valid=jnp.asarray(memory_valid))
    weights = generator.normal(size=y.shape).astype("float32") * counted[..., None]
    (y * torch.tensor(weights)).sum().backward()

    @jax.jit
    def ours(params, x, memory):
        given = inputs._replace(memory=memory) if side == "decoder" else inputs
        out, _ = block.apply({"params": params}, x, given)
        return jnp.sum(out * weights), out

    found = jax.value_and_grad(ours, argnums=(0, 1, 2), has_aux=True)(params, x, memory)
    (_, out), (of_params, of_x, of_memory) = found
    np.testing.assert_allclose(
        np.asarray(out)[counted], y.detach().numpy()[counted], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(of_x, tx.grad, rtol=1e-3, atol=1e-5)
    if side == "decoder":
        np.testing.assert_allclose(of_memory, tm.grad, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        of_params["linear1"]["kernel"].T, theirs.linear1.weight.grad, rtol=1e-3, atol=1e-5
    )
    kernels = [of_params[name]["kernel"].T for name in ("query", "key", "value")]
    theirs_joined = theirs.self_attn.in_proj_weight.grad
    np.testing.assert_allclose(np.concatenate(kernels), theirs_joined, rtol=1e-3, atol=1e-5)
