"""The peers of experiments.benchmarks.translation compute the same loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import translation_peers as peers
from tests.models.test_encoder_decoder_parity import attention_of, dense_of, norm_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
TASK = peers.TASKS["tiny"]


def test_ours_and_the_model_in_torch_have_the_same_loss():
    torch.manual_seed(0)
    model = peers.torch_model(TASK)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    network = model.network
    params = {"embedding": {"embedding": model.embedding.weight.detach().numpy()}}
    for side, layers in (("encoder", network.encoder), ("decoder", network.decoder)):
        (layer,) = layers.layers
        block = attention_of(layer.self_attn)
        block |= {name: dense_of(getattr(layer, name)) for name in ("linear1", "linear2")}
        block |= {"norm1": norm_of(layer.norm1), "norm2": norm_of(layer.norm2)}
        if side == "decoder":
            block |= attention_of(layer.multihead_attn, "cross_")
            block |= {"norm3": norm_of(layer.norm2), "norm2": norm_of(layer.norm3)}
        params |= {f"{side}_block_0": block, f"{side}_norm": norm_of(layers.norm)}
    objective = peers.our_objective(TASK)
    batch = {name: jnp.asarray(column) for name, column in TASK.pairs().items()}
    hyperparameters = {"label_smoothing": jnp.float32(peers.SMOOTHING)}
    loss = jax.jit(objective.loss)(hyperparameters, params, {}, batch, jax.random.key(0))[0]
    given = (torch.tensor(column, dtype=torch.int64) for column in TASK.pairs().values())
    expected = model(*given).item()
    assert loss.value() == pytest.approx(expected, rel=1e-4)
    assert abs(expected - np.log(TASK.vocabulary)) > 0.01
