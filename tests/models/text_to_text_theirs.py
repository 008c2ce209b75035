"""Encoder-decoders of transformers at toy size, and ours of the same weights."""

from functools import partial

import jax
import jax.numpy as jnp
import torch

from jaxmodels.models import marian_names, t5_names
from jaxmodels.models.marian import MarianConfig
from jaxmodels.models.t5 import T5Config
from jaxmodels.pretrained import load
from tests.pretrained.theirs import weights_of

WORDS, END = 31, 1
PADDING = {"marian": 30, "t5": 0, "t5-1.1": 0}
SIZES = {"layers": 2, "decoder_layers": 2, "width": 24, "heads": 4, "hidden": 40}
_POSITIONS = {"position_buckets": 8, "farthest": 12}
CONFIGS = {
    "marian": MarianConfig(**SIZES, context=40),
    "t5": T5Config(**SIZES, **_POSITIONS, head_size=8, gated=False, tied=True),
    "t5-1.1": T5Config(**SIZES, **_POSITIONS, head_size=8, gated=True, tied=False),
}
NAMES = {"marian": marian_names, "t5": t5_names, "t5-1.1": t5_names}


def their_model(transformers, case):
    """Their model, with every parameter moved away from its initial value."""
    torch.manual_seed(0)
    make = _marian if case == "marian" else _t5
    network = make(transformers, case).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
        if case == "marian":
            network.final_logits_bias.add_(0.5 * torch.randn(1, WORDS))
        network.lm_head.weight[END] *= 4  # so that some texts end
    return network


def in_float64(network):
    """Their model in float64; the norms of T5 would round to float32 in between."""
    for module in network.modules():
        if type(module).__name__ == "T5LayerNorm":
            module.forward = partial(_norm, module)
    return network.double()


def _norm(module, x):
    return module.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def _marian(transformers, case):
    config = transformers.MarianConfig(
        vocab_size=WORDS,
        max_position_embeddings=40,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=40,
        decoder_ffn_dim=40,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        d_model=24,
        scale_embedding=True,
        activation_function="swish",
        attn_implementation="eager",
        **_tokens(case),
    )
    return transformers.MarianMTModel(config)


def _t5(transformers, case):
    newer = case != "t5"
    config = transformers.T5Config(
        vocab_size=WORDS,
        d_model=24,
        d_kv=8,
        d_ff=40,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=12,
        feed_forward_proj="gated-gelu" if newer else "relu",
        tie_word_embeddings=not newer,
        attn_implementation="eager",
        **_tokens(case),
    )
    network = transformers.T5ForConditionalGeneration(config)
    if newer:  # transformers 5 ties it, as no published file does
        network.lm_head.weight = torch.nn.Parameter(torch.randn(WORDS, 24) / 24**0.5)
    return network


def _tokens(case):
    padding = PADDING[case]
    return {
        "pad_token_id": padding,
        "decoder_start_token_id": padding,
        "eos_token_id": END,
        "forced_eos_token_id": None,
    }


def model_of(case, dtype=jnp.float32):
    """Our model of the same sizes."""
    return CONFIGS[case].create(WORDS, dtype=dtype)


def params_of(network, case, dtype=jnp.float32, of=lambda tensor: tensor):
    """Our parameters, or what `of` gives for each of theirs, say the gradient."""
    tokens = jnp.zeros((1, 1), jnp.int32)
    shapes = jax.eval_shape(model_of(case).init, jax.random.key(0), tokens, tokens)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)
    weights = weights_of(network, of)
    return load(weights, NAMES[case].published(CONFIGS[case], list(weights)), shapes)["params"]
