"""Parts of GANs, of VAEs with doubly reparameterised gradients, and of language models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmodels.errors import InputError
from jaxmodels.models.gans import GANModels
from jaxmodels.models.gpt import GPTConfig
from jaxmodels.models.language_models import LanguageModels
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.gan import GAN
from jaxmodels.objectives.language_model import LanguageModel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.parts import PartsConfig
from tests.marks import slow
from tests.objectives.vae_toys import small_vae

KEY = jax.random.key(0)


def _flat(tree):
    return {path: np.asarray(leaf) for path, leaf in flatten_dict(tree, sep="/").items()}


def _stepped(objective, batch):
    spec = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
    before = jax.jit(lambda key: objective.init(key, spec, objective.hyperparameters))(KEY)
    after, sums = jax.jit(objective.step)(before, batch, KEY)
    assert all(np.isfinite(value) for value in objective.summarize(sums).values())
    return before, after


def _gan(**parts):
    networks = GANModels(width=4).create(shape=(8, 8, 1))
    optimizer = OptimizerConfig(optimizer="adam", parts=PartsConfig(**parts))
    return GAN(
        *networks,
        AdversarialConfig(ema=0.5, critic_steps=2),
        optimizer,
        steps=5,
        latent_size=4,
    )


IMAGES = {"image": jax.random.normal(KEY, (8, 8, 8, 1))}


@pytest.mark.parametrize("player", list(map(slow, ("generator", "discriminator"))))
def test_a_frozen_player_stays_and_the_other_learns(player):
    objective = _gan(freeze=f"^{player}")
    before, after = _stepped(objective, IMAGES)
    then, now = (objective.learned(state) for state in (before, after))
    for part in ("params", "collections"):
        old, new = _flat(then[part]), _flat(now[part])
        assert old
        for path, leaf in old.items():
            # An average of a generator's parameters has moved, too.
            same = leaf.tobytes() == new[path].tobytes()
            assert same == path.startswith(player), path
    assert after["params"][player] == {}
    assert not [m for m in jax.tree.leaves(after["optimizer"][player]) if jnp.ndim(m)]
    assert objective.sample(after, KEY, 3)["images"].shape == (3, 8, 8, 1)


@pytest.mark.slow
def test_networks_of_a_gan_are_put_in_place_of_those_at_the_start():
    objective = _gan(adapter_rank=1, adapter_on="generator/.*kernel", adapter_also="discriminator")
    before, after = _stepped(objective, IMAGES)
    again = objective.with_learned(before, objective.learned(after))
    found, expected = (objective.learned(state) for state in (again, after))
    for path, leaf in _flat(expected).items():
        np.testing.assert_allclose(_flat(found)[path], leaf, atol=1e-7, err_msg=path)


@pytest.mark.parametrize("bound", [slow("elbo"), "dreg"])
def test_the_encoder_of_a_vae_is_kept(bound):
    objective, whole = (
        small_vae(objective=bound, particles=2, optimizer="sgd", parts=parts)
        for parts in (PartsConfig(freeze="^encoder"), PartsConfig())
    )
    batch = {"image": jax.random.uniform(KEY, (4, 8, 8, 1))}
    before, after = _stepped(objective, batch)
    _, expected = _stepped(whole, batch)
    old, new = (_flat(objective.learned(state)["params"]) for state in (before, after))
    moved = _flat(whole.learned(expected)["params"])
    for path, leaf in old.items():
        wanted = leaf if path.startswith("encoder") else moved[path]
        np.testing.assert_allclose(new[path], wanted, atol=2e-6, err_msg=path)
        assert (new[path].tobytes() == leaf.tobytes()) or not path.startswith("encoder")


def _language_model(base=0, **parts):
    def create(width):
        gpt = GPTConfig(depth=2, width=width, head_size=4, zero_init=False)
        return LanguageModels(model="gpt", gpt=gpt, scan_layers="on").create(11, 6)

    return LanguageModel(
        model=create(8),
        optimizer=OptimizerConfig(optimizer="muon_jordan", parts=PartsConfig(**parts)),
        steps=5,
        ema=0.9,
        base=create(base) if base else None,
    )


TOKENS = {"tokens": jax.random.randint(KEY, (4, 7), 0, 11)}


@pytest.mark.slow
def test_adapters_of_a_language_model_go_through_scanned_blocks():
    objective = _language_model(adapter_rank=1, adapter_on="query/kernel|value/kernel")
    before, after = _stepped(objective, TOKENS)
    assert set(_flat(after["params"])) == {
        f"block_{i}/{name}/kernel/{factor}"
        for i in (0, 1)
        for name in ("query", "value")
        for factor in "AB"
    }
    old, new = (_flat(objective.learned(state)["params"]) for state in (before, after))
    changed = {path for path in old if old[path].tobytes() != new[path].tobytes()}
    assert changed and all(path.split("/")[1] in ("query", "value") for path in changed)


def test_mup_has_no_rule_for_adapters():
    with pytest.raises(InputError, match="leave --mup-base out"):
        _stepped(_language_model(4, adapter_rank=1, adapter_on="query/kernel"), TOKENS)
