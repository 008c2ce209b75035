"""Each option of the GPT against a reference in float64, and its Config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.gpt import GPTConfig
from jaxmodels.models.language_models import create_language_model
from tests.marks import slow
from tests.models import gpt_reference
from tests.ops.compiling import quick_jit

WORDS, CONTEXT = 17, 16
PLAIN = {
    "qk_norm": False,
    "mlp": "gelu",
    "value_embeddings": False,
    "residual_scales": False,
    "logit_cap": 0.0,
}
CASES = {
    "all": {},
    "plain": PLAIN,
    "swiglu": PLAIN | {"mlp": "swiglu"},
    "relu2": PLAIN | {"mlp": "relu2", "hidden": 24},
    "qk_norm": PLAIN | {"qk_norm": True},
    "attention_scale": PLAIN | {"attention_scale": 0.5},
    "grouped": PLAIN | {"key_value_heads": 2},
    "one_group": {"key_value_heads": 1},
    "rotary": PLAIN | {"rotary_base": 100.0, "rotary_fraction": 0.5},
    "no_rotary": PLAIN | {"rotary_fraction": 0.0},
    "norm_scale": PLAIN | {"norm_scale": True},
    "value_embeddings": PLAIN | {"value_embeddings": True, "key_value_heads": 2},
    "residual_scales": PLAIN | {"residual_scales": True},
    "window": PLAIN | {"window_pattern": "SL"},
    "logit_cap": PLAIN | {"logit_cap": 2.0},
    "tied": PLAIN | {"tied": True},
    "not_zero_init": {"zero_init": False},
}
MIXED = {"mlp": "swiglu", "key_value_heads": 2, "window_pattern": "SSL", "norm_scale": True}


def made(dtype=jnp.float32, **options):
    """A small model, with parameters that are all random."""
    sizes = {"depth": 3, "width": 32, "head_size": 8}
    model = create_language_model("gpt", WORDS, CONTEXT, dtype, **(sizes | options))
    return model, random_params(model)


def random_params(model):
    """Parameters of a model's shapes, none of which is zero."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    generator = np.random.default_rng(0)
    draw = lambda leaf: jnp.float32(0.3 * generator.normal(size=leaf.shape))  # noqa: E731
    return jax.tree.map(draw, shapes)


def tokens_and_documents():
    generator = np.random.default_rng(1)
    tokens = generator.integers(0, WORDS, (2, CONTEXT)).astype(np.int32)
    documents = np.repeat([[0, 1, 1, 2], [4, 4, 4, 5]], 4, axis=1).astype(np.int32)
    return tokens, documents


KEPT = ("all", "window")


@pytest.mark.parametrize("case", [name if name in KEPT else slow(name) for name in CASES])
def test_logits_equal_the_reference(case):
    model, params = made(**CASES[case])
    tokens, documents = tokens_and_documents()
    logits = quick_jit(model.apply)({"params": params}, tokens, documents=documents)
    wide = jax.tree.map(np.float64, params)
    for row in range(len(tokens)):
        expected = gpt_reference.logits(model, wide, tokens[row], documents[row])
        assert expected.std() > 0.1
        np.testing.assert_allclose(logits[row], expected, rtol=1e-4, atol=2e-5)


def test_depth_alone_sizes_it_as_nanochat_does():
    model = GPTConfig(depth=12).create(100, 64)
    assert (model.layers, model.width, model.heads, model.hidden) == (12, 768, 6, 3072)
    model = GPTConfig(depth=3, mlp="swiglu").create(100, 64)
    assert (model.width, model.heads, model.hidden) == (256, 2, 688)


@pytest.mark.slow
def test_blocks_start_as_the_identity_and_factors_fall_with_depth():
    model = create_language_model("gpt", WORDS, CONTEXT, depth=3, width=32, head_size=8)
    params = quick_jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    for index, (stream, embedding) in enumerate([(1.15, 0.2), (1.1, 0.125), (1.05, 0.05)]):
        block = params[f"block_{index}"]
        assert not block["out"]["kernel"].any() and not block["linear2"]["kernel"].any()
        np.testing.assert_allclose(block["stream_scale"], stream, rtol=1e-6)
        np.testing.assert_allclose(block["embedding_scale"], embedding, rtol=1e-6)
        np.testing.assert_allclose(np.std(block["query"]["kernel"]), 32**-0.5, rtol=0.1)
        assert ("value_gate" in block) == (index != 1)
    assert set(params) >= {"value_embedding_0", "value_embedding_2", "head"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mlp": "relu"}, "unknown mlp 'relu'; did you mean 'relu2'"),
        ({"width": 100}, "width = 100; expected a multiple of head_size = 128"),
        ({"key_value_heads": 3}, "key_value_heads = 3; expected a divisor of the 2 heads"),
        ({"rotary_fraction": 1.5}, "rotary_fraction = 1.5; expected"),
        ({"window_pattern": "SX"}, "window_pattern = 'SX'; expected letters S and L"),
        ({"depth": 0}, "depth = 0; expected at least 1"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(InputError, match=message):
        GPTConfig(**options).validate()
