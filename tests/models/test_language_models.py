"""What all language models promise: one tree of parameters, exact caches, masks, dropout."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmodels.errors import InputError
from jaxmodels.models.language_models import LanguageModels, create_language_model
from jaxmodels.ops.rematerialize import use_remat
from tests.marks import campaign, slow
from tests.models.test_gpt import CONTEXT, MIXED, WORDS, random_params, tokens_and_documents
from tests.models.test_gpt import made as made_gpt
from tests.ops.compiling import quick_jit


def made_gpt2(dtype=jnp.float32, **options):
    """A small GPT-2, with parameters that are all random."""
    sizes = {"layers": 2, "width": 16, "heads": 2}
    model = create_language_model("gpt2", WORDS, CONTEXT, dtype, **(sizes | options))
    return model, random_params(model)


def made_llama(dtype=jnp.float32, **options):
    """A small Llama, with parameters that are all random."""
    sizes = {"layers": 2, "width": 16, "heads": 4, "key_value_heads": 2, "hidden": 24}
    model = create_language_model("llama", WORDS, CONTEXT, dtype, **(sizes | options))
    return model, random_params(model)


MODELS = {
    "gpt2": made_gpt2,
    "llama": made_llama,
    "gpt": made_gpt,
    "mixed": partial(made_gpt, **MIXED),
}
EACH = ["gpt2", *map(slow, ("mixed", "gpt", "llama"))]


@pytest.mark.parametrize("name", EACH)
def test_decoding_with_a_cache_equals_the_full_pass(name):
    model, params = MODELS[name]()
    tokens, _ = tokens_and_documents()
    full = quick_jit(model.apply)({"params": params}, tokens)
    step = quick_jit(partial(model.apply, method="decode"))
    cache = model.empty_cache(2, CONTEXT)
    # Row 1 has a prompt of 4 tokens and a pad that is not its next token.
    prompt = tokens[:, :6].copy()
    prompt[1, 4:] = (prompt[1, 4:] + 1) % WORDS
    logits, cache = step({"params": params}, prompt, cache, np.int32([0, 0]))
    near = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    near(logits[0], full[0, :6])
    near(logits[1, :4], full[1, :4])
    last, _ = step({"params": params}, prompt, cache, np.int32([0, 0]), np.int32([5, 3]))
    near(last[:, 0], full[[0, 1], [5, 3]])
    starts = np.int32([6, 4])
    while starts[0] < CONTEXT:
        new = tokens[np.arange(2), starts][:, None]
        logits, cache = step({"params": params}, new, cache, starts)
        for row in (0, 1):
            near(logits[row, 0], full[row, starts[row]])
            assert logits[row, 0].argmax() == full[row, starts[row]].argmax()
        starts = starts + 1


def test_a_cache_that_is_too_short_gives_nan_and_one_start_serves_all_rows():
    model, params = made_gpt2()
    tokens, _ = tokens_and_documents()
    step = quick_jit(partial(model.apply, method="decode"))
    cache = model.empty_cache(2, 8)
    logits, cache = step({"params": params}, tokens[:, :6], cache, np.int32(0))
    assert np.isfinite(logits).all()
    logits, _ = step({"params": params}, tokens[:, :6], cache, np.int32(3))
    assert np.isnan(logits).all()
    with pytest.raises(InputError, match="9 tokens; expected at most the cache's 8"):
        model.apply({"params": params}, jnp.zeros((2, 9), int), cache, 0, method="decode")


@pytest.mark.parametrize("name", EACH)
def test_later_tokens_and_other_documents_change_no_bit(name):
    model, params = MODELS[name]()
    tokens, documents = tokens_and_documents()
    compute = quick_jit(model.apply)
    before = compute({"params": params}, tokens, documents=documents)
    for planted in (0, 5, CONTEXT - 1):
        other = tokens.copy()
        other[:, planted] = (other[:, planted] + 1) % WORDS
        after = compute({"params": params}, other, documents=documents)
        changed = (np.asarray(before) != np.asarray(after)).any(-1)
        reached = documents == documents[:, planted : planted + 1]
        reached[:, :planted] = False
        assert not changed[~reached].any()
        assert changed[:, planted].all()
    cut = compute({"params": params}, tokens[:, 4:12], documents=documents[:, 4:12])
    # Row 0 has a document of its own there, which is the same wherever it stands.
    np.testing.assert_allclose(cut[0], before[0, 4:12], rtol=1e-4, atol=1e-5)


def gradients_of(model, params, tokens):
    def loss(params, tokens):
        rngs = {"dropout": jax.random.key(5)}
        logits = model.apply({"params": params}, tokens, train=True, dropout_rate=0.2, rngs=rngs)
        return jnp.mean(jnp.square(logits)), logits

    return quick_jit(jax.grad(loss, has_aux=True))(params, tokens)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gpt2", {"scan_layers": "on", "remat": "full"}),
        campaign("gpt2", {"scan_layers": "on"}),
        campaign("gpt2", {"remat": "full"}),
        slow("gpt2", {"remat": "block"}),
        slow("alternating", {"scan_layers": "on", "remat": "block"}),
        slow("mixed", {"scan_layers": "on"}),
    ],
)
def test_scanning_and_remat_change_neither_parameters_nor_results(name, options):
    make = MODELS | {"alternating": partial(made_gpt, depth=5, window_pattern="LS")}
    model, params = make[name]()
    tokens, _ = tokens_and_documents()
    remat = options.get("remat", "none")
    other = model.clone(**{name: value for name, value in options.items() if name != "remat"})
    shapes = jax.eval_shape(other.init, jax.random.key(0), tokens)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    if "scan_layers" in options and name != "mixed":
        program = str(jax.make_jaxpr(other.apply)({"params": params}, tokens))
        assert program.count("scan[") == 1
    plain, expected = gradients_of(model, params, tokens)
    with use_remat(remat):
        gradients, logits = gradients_of(other, params, tokens)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), gradients, plain
    )


@pytest.mark.lowering
def test_remat_keeps_less(optimized):
    model = create_language_model("gpt2", WORDS, 64, layers=6, width=32, heads=4)
    tokens = jax.ShapeDtypeStruct((8, 64), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]

    def temporaries(remat):
        def loss(params, tokens):
            return jnp.sum(model.clone(scan_layers="on").apply({"params": params}, tokens))

        with use_remat(remat):
            compiled = jax.jit(jax.grad(loss)).lower(params, tokens).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    none, block, full = (temporaries(remat) for remat in ("none", "block", "full"))
    assert full < 0.6 * block < 0.6 * none


@pytest.mark.slow
def test_dropout_is_the_same_on_any_number_of_devices_and_differs_by_key():
    model, params = made_gpt2(layers=1)
    tokens = np.random.default_rng(2).integers(0, WORDS, (8, CONTEXT))

    def compute(params, tokens, key):
        return model.apply(
            {"params": params}, tokens, train=True, dropout_rate=0.3, rngs={"dropout": key}
        )

    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    over, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    key = jax.random.key(1)
    one = quick_jit(compute)(params, tokens, key)
    many = quick_jit(compute, in_shardings=(whole, over, whole), out_shardings=over)(
        params, tokens, key
    )
    np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-5)
    each = jax.pmap(compute, axis_name="data", in_axes=(None, 0, None))(
        params, tokens.reshape(8, 1, CONTEXT), key
    )
    np.testing.assert_allclose(one, np.asarray(each)[:, 0], rtol=1e-4, atol=1e-5)
    assert (np.asarray(one) != quick_jit(compute)(params, tokens, jax.random.key(2))).any()
    evaluated = quick_jit(model.apply)({"params": params}, tokens)
    assert (np.asarray(one) != np.asarray(evaluated)).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", [slow("gpt2"), "gpt"])
def test_half_precision_keeps_parameters_and_logits_in_float32(name):
    model, params = MODELS[name](jnp.bfloat16)
    tokens, _ = tokens_and_documents()
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    hidden, kernel = jax.eval_shape(
        partial(model.apply, method="hidden_and_head"), {"params": params}, tokens
    )
    assert (hidden.dtype, kernel.dtype) == (jnp.bfloat16, jnp.float32)
    half = quick_jit(model.apply)({"params": params}, tokens)
    exact = quick_jit(MODELS[name]()[0].apply)({"params": params}, tokens)
    assert half.dtype == jnp.float32
    assert np.corrcoef(np.ravel(half), np.ravel(exact))[0, 1] > 0.99
    assert (np.asarray(half) != np.asarray(exact)).any()


def test_norms_of_the_stream_are_there_for_the_asking():
    model, params = made_gpt2(layers=1)
    tokens, _ = tokens_and_documents()
    _, found = quick_jit(partial(model.apply, mutable=["intermediates"]))(
        {"params": params}, tokens
    )
    (norms,) = found["intermediates"]["activation_norm"]
    assert norms.shape == (1,) and (norms > 0).all()


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        slow("small", 124_439_808),
        slow("medium", 354_823_168),
        campaign("large", 774_030_080),
        campaign("xl", 1_557_611_200),
    ],
)
def test_published_sizes(variant, count):
    """The counts are those of transformers' gpt2, gpt2-medium, gpt2-large and gpt2-xl."""
    model = create_language_model("gpt2", 50_257, 1024, variant=variant)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "gpt3"}, "unknown model 'gpt3'; did you mean 'gpt'"),
        ({"attention": "flash"}, "unknown attention 'flash'"),
        ({"scan_layers": "yes"}, "unknown scan_layers 'yes'"),
    ],
)
def test_unknown_names(options, message):
    with pytest.raises(InputError, match=message):
        LanguageModels(**options).validate()


def test_gpt2_has_positions_for_its_context_alone():
    model, params = made_gpt2()
    with pytest.raises(InputError, match="17 tokens; expected at most the context of 16"):
        model.apply({"params": params}, jnp.zeros((1, 17), int))
    with pytest.raises(InputError, match="width = 16; expected a multiple of heads = 3"):
        made_gpt2(heads=3)
