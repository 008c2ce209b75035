"""Optimizers and schedules by name: closed forms, traced rates, decay and clipping."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.whisper import Whisper
from jaxmodels.objectives.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    OptimizerConfig,
    make_optimizer,
)
from jaxmodels.objectives.parameter_kinds import decayed, kinds_of
from jaxmodels.objectives.schedules import scheduled_rate
from tests.marks import slow_but

PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.3, -0.7])}


def _traced(config):
    return {name: jnp.float32(value) for name, value in config.hyperparameters().items()}


def _run(config, steps=5, params=PARAMS, changes=None):
    """Parameters after some steps of descent on a quadratic."""
    hyperparameters = _traced(config) | (changes or {})

    @jax.jit
    def step(params, state, hyperparameters):
        gradients = jax.tree.map(lambda p: p - 1, params)
        rule = make_optimizer(config, hyperparameters, hyperparameters["learning_rate"])
        updates, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state = make_optimizer(config, hyperparameters, jnp.float32(0)).init(params)
    for _ in range(steps):
        params, state = step(params, state, hyperparameters)
    return params


REFERENCES = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "adam": lambda: optax.adam(0.1),
    "adamw": lambda: optax.adamw(0.1, weight_decay=0.02, mask=decayed),
    "lion": lambda: optax.lion(0.1, b1=0.9, b2=0.999, weight_decay=0.02, mask=decayed),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_the_optax_alias(name):
    decay = 0.02 if name in ("adamw", "lion") else 0.0
    config = OptimizerConfig(optimizer=name, learning_rate=0.1, weight_decay=decay)
    params, rule = PARAMS, REFERENCES[name]()
    state = rule.init(params)
    for _ in range(5):
        updates, state = rule.update(jax.tree.map(lambda p: p - 1, params), state, params)
        params = optax.apply_updates(params, updates)
    # A traced float32 beta 2 makes 1 - beta 2 differ by 5e-5 from the alias's Python number.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=5e-5), _run(config), params)


def test_muon_update_of_a_kernel_is_nearly_orthogonal_and_scaled():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 4, 72))
    config = OptimizerConfig(optimizer="muon", learning_rate=1.0, schedule="constant")
    after = _run(config, steps=1, params={"kernel": kernel, "bias": jnp.zeros(72)})
    update = (kernel - after["kernel"]).reshape(36, 72) / np.sqrt(2)  # outputs / inputs = 2
    values = np.linalg.svd(update, compute_uv=False)
    assert 0.6 < values.min() <= values.max() < 1.3
    np.testing.assert_allclose(jnp.abs(after["bias"]), 1, rtol=1e-3)  # Adam's first step


KINDS = {
    "words": {"embedding": jnp.array([[1.0, -2.0], [0.5, 3.0]])},
    "block": {"kernel": jnp.array([[0.4, 2.0], [-0.5, 1.5]]), "bias": jnp.array([0.3, -0.7])},
    "head": {"kernel": jnp.array([[2.0, -1.0], [0.1, 0.6]])},
}


@pytest.mark.parametrize("name", slow_but("adamw", OPTIMIZERS))
def test_kinds_of_parameters_have_rates_and_decays_of_their_own(name):
    """Those of a run in which that rate, or that decay, is everybody's."""
    common = {"optimizer": name, "learning_rate": 0.01, "weight_decay": 0.1}
    factors = {"embedding": (3.0, 0.5), "head": (0.25, 2.0), "vector": (0.5, 0.7)}
    config = OptimizerConfig(
        **common,
        **{f"{kind}_rate": rate for kind, (rate, _) in factors.items()},
        **{f"{kind}_decay": decay for kind, (_, decay) in factors.items()},
    )
    ours = _run(config, params=KINDS)
    for kind, pick in {
        "embedding": lambda tree: tree["words"]["embedding"],
        "head": lambda tree: tree["head"]["kernel"],
        "vector": lambda tree: tree["block"]["bias"],
        "kernel": lambda tree: tree["block"]["kernel"],
    }.items():
        rate, decay = factors.get(kind, (1.0, 1.0))
        alone = OptimizerConfig(
            optimizer=name,
            learning_rate=0.01 * rate,
            weight_decay=0.1 * decay,
            vector_decay=float(kind == "vector"),
        )
        expected = pick(_run(alone, params=KINDS))
        np.testing.assert_allclose(pick(ours), expected, rtol=1e-5)
        assert np.abs(pick(ours) - pick(_run(OptimizerConfig(**common), params=KINDS))).max() > (
            -1 if kind == "kernel" else 1e-4
        )


def test_cautious_updates_go_where_the_gradient_points():
    """The second step of momentum by hand: one of two components turned, so the other counts 2."""
    config = OptimizerConfig(optimizer="momentum", learning_rate=0.5, cautious=True)
    rule = make_optimizer(config, _traced(config), jnp.float32(0.5))
    params = jnp.zeros(2)
    _, state = rule.update(jnp.array([1.0, 1.0]), rule.init(params), params)
    updates, state = rule.update(jnp.array([-0.2, 0.1]), state, params)
    np.testing.assert_allclose(updates, [0.0, -0.5 * 2 * (0.9 + 0.1)], rtol=1e-6)
    updates, _ = rule.update(jnp.array([-0.2, -0.1]), state, params)
    np.testing.assert_array_equal(updates, [0.0, 0.0])


@pytest.mark.parametrize("name", ["adamw", "lion", "muon_jordan"])
def test_cautious_decay_acts_where_it_has_the_direction_of_the_update(name):
    params = {"kernel": jnp.array([[1.0, -1.0], [1.0, -1.0]])}
    gradients = {"kernel": jnp.array([[1.0, 1.0], [-1.0, -0.5]])}

    def updates(**options):
        config = OptimizerConfig(optimizer=name, **options)
        rule = make_optimizer(config, _traced(config), jnp.float32(1))
        return rule.update(gradients, rule.init(params), params)[0]["kernel"]

    plain, decaying = updates(), updates(weight_decay=0.1, cautious_decay=True)
    shrinks = plain * params["kernel"] <= 0
    assert 0 < shrinks.sum() < 4
    expected = plain - 0.1 * params["kernel"] * shrinks
    np.testing.assert_allclose(decaying, expected, rtol=1e-6)


def test_multipliers_are_of_the_update_and_not_of_decoupled_decay():
    config = OptimizerConfig(optimizer="adamw", weight_decay=0.1)
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    factors = {"kernel": 0.25, "bias": 3.0}
    hyperparameters = _traced(config)
    rule = make_optimizer(config, hyperparameters, jnp.float32(0.1), factors)
    plain = make_optimizer(config, hyperparameters, jnp.float32(0.1))
    state = plain.init(PARAMS)
    assert jax.tree.structure(state) == jax.tree.structure(rule.init(PARAMS))
    updates, _ = rule.update(gradients, state, PARAMS)
    np.testing.assert_allclose(updates["bias"], [-0.3, -0.3], rtol=1e-5)
    expected = -0.1 * (0.25 + 0.1 * PARAMS["kernel"])
    np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-5)


def test_states_follow_the_parameters():
    """Every array of an optimizer's state is a count, or has path and shape of a parameter, so that
    rules by path shard it."""
    params = {jax.tree_util.keystr(path): leaf.shape for path, leaf in _leaves(KINDS)}
    for name in OPTIMIZERS:
        config = OptimizerConfig(optimizer=name, weight_decay=0.1, clip=1.0, cautious=name != "sgd")
        state = make_optimizer(config, _traced(config), jnp.float32(0)).init(KINDS)
        for path, leaf in _leaves(state):
            name = jax.tree_util.keystr(path)
            owners = [owner for owner in params if name.endswith(owner)]
            coefficients = name.endswith(".ns_coeffs")  # of optax's Muon
            assert coefficients or not leaf.shape or leaf.shape == params[owners[0]], name


def _leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_acts_on_kernels_only(name):
    plain = OptimizerConfig(optimizer=name, learning_rate=0.01)
    decayed_config = OptimizerConfig(optimizer=name, learning_rate=0.01, weight_decay=0.5)
    a, b = _run(plain), _run(decayed_config)
    np.testing.assert_array_equal(a["bias"], b["bias"])
    assert np.abs(a["kernel"] - b["kernel"]).max() > 1e-4


def test_l2_decay_of_sgd_is_in_the_gradient_and_passes_the_momentum():
    config = OptimizerConfig(optimizer="momentum", learning_rate=0.1, weight_decay=0.5)
    kernel, velocity = np.asarray(PARAMS["kernel"], np.float64), 0.0
    for _ in range(5):
        velocity = 0.9 * velocity + (kernel - 1) + 0.5 * kernel
        kernel = kernel - 0.1 * velocity
    np.testing.assert_allclose(_run(config)["kernel"], kernel, rtol=1e-5)


def test_clipping_bounds_the_global_norm():
    config = OptimizerConfig(optimizer="sgd", learning_rate=1.0, clip=0.5)
    moved = jax.tree.map(jnp.subtract, _run(config, steps=1), PARAMS)
    assert float(optax.tree.norm(moved)) == pytest.approx(0.5, rel=1e-5)


def test_every_rate_is_traced():
    """Another value of a hyperparameter in the state does what that value in the config does."""
    base = {"optimizer": "adamw", "weight_decay": 0.1, "clip": 1.0}
    config = OptimizerConfig(**base)
    for name, value in {"learning_rate": 0.3, "momentum": 0.5, "second_momentum": 0.9,
                        "weight_decay": 0.7, "clip": 0.2, "epsilon": 0.1}.items():  # fmt: skip
        changed = _run(config, changes={name: jnp.float32(value)})
        expected = _run(OptimizerConfig(**(base | {name: value})))
        jax.tree.map(np.testing.assert_array_equal, changed, expected)
        assert np.abs(changed["kernel"] - _run(config)["kernel"]).max() > 1e-6


def _rate(config, step, steps=100):
    return float(scheduled_rate(config, steps, _traced(config), jnp.int32(step)))


def test_schedules_by_closed_form():
    common = {"learning_rate": 0.2}
    assert _rate(OptimizerConfig(schedule="constant", **common), 70) == pytest.approx(0.2)
    cosine = OptimizerConfig(schedule="cosine", **common)
    for step in (0, 25, 50, 100, 150):
        expected = 0.1 * (1 + np.cos(np.pi * min(step / 100, 1)))
        assert _rate(cosine, step) == pytest.approx(expected, abs=1e-7)
    warm = OptimizerConfig(schedule="warmup_cosine", warmup_steps=10, **common)
    assert [_rate(warm, step) for step in (0, 4, 9)] == pytest.approx([0.02, 0.1, 0.2])
    assert _rate(warm, 55) == pytest.approx(0.1, abs=1e-7)
    assert _rate(warm, 100) == pytest.approx(0, abs=1e-7)
    stairs = OptimizerConfig(schedule="step", decay_every=30, decay_rate=0.5, **common)
    assert [_rate(stairs, s) for s in (0, 29, 30, 60)] == pytest.approx([0.2, 0.2, 0.1, 0.05])


def test_the_trapezoid_by_closed_form():
    """Step for step that of modded-nanogpt's train_gpt_simple.py; with a warm-up, the lower."""
    trapezoid = OptimizerConfig(schedule="trapezoid", warmup_steps=0, learning_rate=0.2)
    for step in range(100):
        eta = 1.0 if step / 100 < 1 - 0.7 else (1 - step / 100) / 0.7
        assert _rate(trapezoid, step) == pytest.approx(0.2 * eta, rel=1e-5)
    assert [_rate(trapezoid, step) for step in (100, 150)] == [0, 0]
    warm = OptimizerConfig(schedule="trapezoid", warmup_steps=50, learning_rate=1.0, cooldown=0.8)
    assert [_rate(warm, step) for step in (0, 24, 39)] == pytest.approx([0.02, 0.5, 0.7625])
    assert _rate(warm, 90) == pytest.approx(0.125)
    constant = OptimizerConfig(schedule="trapezoid", warmup_steps=10, cooldown=0, learning_rate=1.0)
    assert [_rate(constant, step) for step in (4, 9, 99, 200)] == pytest.approx([0.5, 1, 1, 1])
    assert not constant.schedule_ends and "cooldown" not in constant.hyperparameters()


def test_a_rate_may_end_above_zero():
    """As nanoGPT's get_lr with min_lr, whose warm-up ends a step later."""
    options = {"warmup_steps": 10, "learning_rate": 1e-3, "final_rate": 0.1}
    cosine = OptimizerConfig(schedule="warmup_cosine", **options)
    for step in (10, 40, 99, 100, 130):
        ratio = min(step - 10, 90) / 90
        expected = 1e-4 + 0.5 * (1 + np.cos(np.pi * ratio)) * (1e-3 - 1e-4)
        assert _rate(cosine, step) == pytest.approx(expected, rel=1e-5)
    linear = OptimizerConfig(schedule="trapezoid", cooldown=0.5, **options)
    assert [_rate(linear, step) for step in (4, 50, 75, 100, 150)] == pytest.approx(
        [5e-4, 1e-3, 5.5e-4, 1e-4, 1e-4]
    )
    with pytest.raises(InputError, match="final_rate = "):
        OptimizerConfig(schedule="constant", final_rate=0.1).validate()


@pytest.mark.parametrize("cooldown", [0.25, 0.7, 1.0])
def test_runs_of_two_lengths_have_the_same_rates_as_long_as_they_say(cooldown):
    config = OptimizerConfig(schedule="trapezoid", warmup_steps=7, cooldown=cooldown)
    short, long = (
        jax.vmap(lambda at: scheduled_rate(config, steps, _traced(config), at))(jnp.arange(60))  # noqa: B023
        for steps in (60, 100)
    )
    common = config.same_until(100, 60)
    assert common == config.same_until(60, 100) == int(60 * (1 - cooldown))
    np.testing.assert_array_equal(short[:common], long[:common])
    falling = max(common, config.warmup_steps) + 1
    assert (short[falling:] < long[falling:]).all()
    assert OptimizerConfig(schedule="cosine").same_until(60, 100) == 0
    assert OptimizerConfig(schedule="constant").same_until(60, 100) == 60


def test_milestones_by_closed_form():
    """From the step of a milestone on, however long the run is, as torch's MultiStepLR."""
    config = OptimizerConfig(
        schedule="milestones", milestones=(3, 4, 90), decay_rate=0.5, learning_rate=0.8
    )
    config.validate()
    rates = {0: 0.8, 2: 0.8, 3: 0.4, 4: 0.2, 89: 0.2, 90: 0.1, 5000: 0.1}
    for steps in (10, 1000):
        found = [_rate(config, step, steps) for step in rates]
        assert found == pytest.approx(list(rates.values()), rel=1e-6)
    other = _traced(config) | {"decay_rate": jnp.float32(0.1)}
    assert scheduled_rate(config, 10, other, jnp.int32(4)) == pytest.approx(0.008, rel=1e-5)


@pytest.mark.parametrize(
    "schedule, milestones",
    [
        ("milestones", ()),
        ("milestones", (5, 5)),
        ("milestones", (9, 4)),
        ("milestones", (0, 4)),
        ("milestones", (-3,)),
        ("cosine", (4, 9)),
        ("step", (4,)),
    ],
)
def test_bad_milestones_are_named(schedule, milestones):
    config = OptimizerConfig(schedule=schedule, milestones=milestones)
    with pytest.raises(InputError, match=rf"schedule = {schedule}, milestones = .*increasing"):
        config.validate()


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_epsilon_is_added_to_the_root_of_the_second_moment(name):
    """Of the first update: both moments are then those of the gradient."""
    config = OptimizerConfig(optimizer=name, learning_rate=0.1, epsilon=0.5)
    gradients = jax.tree.map(lambda p: p - 1, PARAMS)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g / (np.abs(g) + 0.5), PARAMS, gradients)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), _run(config, 1), expected
    )


@pytest.mark.parametrize("period", [41, 47, 235, 4690])
def test_steps_decay_at_the_step_itself(period):
    config = OptimizerConfig(schedule="step", decay_every=period, learning_rate=1.0)
    rate = jax.jit(lambda step: scheduled_rate(config, 10**6, _traced(config), step))
    for times in (1, 2, 4, 8):
        before, at = (float(rate(jnp.int32(period * times - back))) for back in (1, 0))
        assert (before, at) == pytest.approx((0.1 ** (times - 1), 0.1**times), rel=1e-4)


def test_schedules_that_are_laid_out_over_the_steps_say_so():
    ends = {name for name in SCHEDULES if OptimizerConfig(schedule=name).schedule_ends}
    assert ends == {"cosine", "warmup_cosine", "trapezoid"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "adan"),
        ("schedule", "cosin"),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("weight_decay", -1.0),
        ("clip", float("nan")),
        ("epsilon", -1e-4),
        ("decay_rate", float("nan")),
        ("momentum", 1.0),
        ("second_momentum", -0.1),
        ("warmup_steps", -1),
        ("decay_every", 0),
        ("cooldown", 1.5),
        ("final_rate", 1.0),
        ("embedding_rate", -1.0),
        ("vector_decay", float("inf")),
        ("muon_steps", 0),
        ("muon_precision", "float16"),
        ("muon_coefficients", (1.0, float("nan"), 2.0)),
        ("adam_momentum", 0.9),  # of a rule that has but one momentum
        ("cautious_decay", True),  # of nothing that decays
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_values_are_named(field, value):
    with pytest.raises(InputError, match=rf"{field}.*{re.escape(str(value))}"):
        OptimizerConfig(**{field: value}).validate()


def test_caution_needs_a_rule_with_momentum():
    with pytest.raises(InputError, match="cautious = True with optimizer sgd"):
        OptimizerConfig(optimizer="sgd", cautious=True).validate()
    OptimizerConfig(optimizer="adam", cautious=True).validate()


def test_weight_decay_spares_norms_even_where_they_are_tables():
    """A conditional BatchNorm has a row of scales and biases per class."""
    params = {
        "BatchNorm_0": {"scale": jnp.ones((3, 4)), "bias": jnp.ones((3, 4))},
        "Dense_0": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
    }
    assert decayed(params) == {
        "BatchNorm_0": {"scale": False, "bias": False},
        "Dense_0": {"kernel": True, "bias": False},
    }


@pytest.mark.parametrize("name", slow_but("adamw", OPTIMIZERS))
def test_fixed_tables_stay_as_they_are(name):
    params = {**KINDS, "sound_positions": KINDS["words"]}
    after = _run(OptimizerConfig(optimizer=name, weight_decay=0.1), params=params)
    fixed = after.pop("sound_positions")["embedding"]
    np.testing.assert_array_equal(fixed, KINDS["words"]["embedding"])
    others = _run(OptimizerConfig(optimizer=name, weight_decay=0.1), params=KINDS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after, others)


def test_the_positions_of_whispers_encoder_are_fixed_and_nothing_else_is():
    sizes = {"layers": 1, "decoder_layers": 1, "width": 4, "heads": 1, "bands": 3, "sounds": 2}
    model = Whisper(vocabulary=5, context=3, **sizes)
    given = jnp.zeros((1, 4, 3)), jnp.zeros((1, 2), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), *given)["params"]
    flat = jax.tree_util.tree_leaves_with_path(kinds_of(params))
    fixed = [jax.tree_util.keystr(path) for path, kind in flat if kind == "fixed"]
    assert fixed == ["['sound_positions']['embedding']"]
    assert not decayed(params)["sound_positions"]["embedding"]
