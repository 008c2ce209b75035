"""Llama-like models of transformers, and their parameters in the tree of ours."""

import jax.numpy as jnp
import torch

SIZES = {"layers": 2, "width": 24, "heads": 4, "key_value_heads": 2, "hidden": 40}
WORDS, CONTEXT = 31, 16
STRETCHED = {"rotary_base": 500.0, "rotary_factor": 4.0, "rotary_context": 32}
# Ours: options, theirs: class and what its config has beside the sizes.
CASES = {
    "llama": ({"head_size": 8, "tied": False}, "Llama", {"head_dim": 8}),
    "smollm2": ({"rotary_base": 1e5, "tied": True}, "Llama", {"rope_theta": 1e5}),
    "llama3": (
        STRETCHED | {"tied": True},
        "Llama",
        {
            "rope_theta": 500.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
    ),
    "qwen2": (
        {"rotary_base": 1e6, "norm_epsilon": 1e-6, "qkv_bias": True, "tied": True},
        "Qwen2",
        {"rope_theta": 1e6, "rms_norm_eps": 1e-6},
    ),
}


def their_model(transformers, case, **others):
    """Their model, with every parameter moved away from its initial value."""
    options, kind, own = CASES[case]
    torch.manual_seed(0)
    own = {"rms_norm_eps": 1e-5, **own, **others}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=WORDS,
        hidden_size=SIZES["width"],
        intermediate_size=SIZES["hidden"],
        num_hidden_layers=SIZES["layers"],
        num_attention_heads=SIZES["heads"],
        num_key_value_heads=SIZES["key_value_heads"],
        max_position_embeddings=64,
        tie_word_embeddings=options["tied"],
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **own,
    )
    network = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def params_of(network, of=lambda parameter: parameter):
    """Our parameters, or what `of` gives for each of theirs, say the gradient."""
    named = {
        name.removeprefix("model."): jnp.asarray(of(parameter).detach().numpy())
        for name, parameter in network.named_parameters()
    }

    def dense(name):
        bias = {"bias": named[f"{name}.bias"]} if f"{name}.bias" in named else {}
        return {"kernel": named[f"{name}.weight"].T, **bias}

    def block(index):
        name = f"layers.{index}"
        return {
            "norm1": {"scale": named[f"{name}.input_layernorm.weight"]},
            "query": dense(f"{name}.self_attn.q_proj"),
            "key": dense(f"{name}.self_attn.k_proj"),
            "value": dense(f"{name}.self_attn.v_proj"),
            "out": dense(f"{name}.self_attn.o_proj"),
            "norm2": {"scale": named[f"{name}.post_attention_layernorm.weight"]},
            "gate": dense(f"{name}.mlp.gate_proj"),
            "linear1": dense(f"{name}.mlp.up_proj"),
            "linear2": dense(f"{name}.mlp.down_proj"),
        }

    layers = network.config.num_hidden_layers
    return {
        "token_embedding": {"embedding": named["embed_tokens.weight"]},
        **{f"block_{index}": block(index) for index in range(layers)},
        "norm": {"scale": named["norm.weight"]},
        **({"head": dense("lm_head")} if "lm_head.weight" in named else {}),
    }
