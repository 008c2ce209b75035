"""Options of models: defaults, which section they reach, what is refused."""

import ast
import dataclasses
import inspect
import itertools

import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import ClassifierModels
from jaxmodels.models.gans import GANModels
from jaxmodels.models.options import chosen_options, with_options
from jaxmodels.models.vaes import VAEModels

DEFAULTS = {
    "mlp": {"hidden": (512, 512), "batch_norm": False},
    "cnn": {"channels": (32, 64), "hidden": (256,), "batch_norm": False},
    "resnet": {"variant": "cifar18", "depths": (), "width": 0},
    "vit": {
        "variant": "tiny",
        "patch": 0,
        "pool": "",
        "positions": "",
        "width": 0,
        "depth": 0,
        "heads": 0,
        "mlp_ratio": 4,
        "norm_epsilon": 1e-6,
    },
    "efficientnet": {"variant": "lite0"},
}
VAE_DEFAULTS = {
    "mlp": {"latent_size": 16, "hidden": (256,), "activation": "relu", "flows": 0},
    "conv": {
        "latent_size": 16,
        "width": 32,
        "blocks": 0,
        "features": 256,
        "activation": "elu",
        "flows": 0,
    },
    "ladder": {"latent_size": 16, "width": 32, "depth": (1, 2, 3)},
    "vqvae": {"codes": 128, "code_size": 32, "width": 32, "blocks": 0, "activation": "relu"},
}


@pytest.mark.parametrize(
    ("models", "default", "sections"),
    [(ClassifierModels(), "cnn", DEFAULTS), (VAEModels(), "conv", VAE_DEFAULTS)],
)
def test_every_architecture_has_a_section_with_its_defaults(models, default, sections):
    assert dataclasses.asdict(models) == {"model": default, **sections}
    assert chosen_options(models) == getattr(models, default)


@pytest.mark.parametrize("models", [ClassifierModels, VAEModels, GANModels])
def test_every_option_has_a_docstring(models):
    """It is what --help prints."""
    sections = [
        field.default_factory
        for field in dataclasses.fields(models)
        if field.default_factory is not dataclasses.MISSING
    ]
    for config in [models, *sections]:
        body = ast.parse(inspect.getsource(config)).body[0].body
        for option, after in itertools.pairwise(body):
            if isinstance(option, ast.AnnAssign) and not isinstance(option.value, ast.Call):
                assert isinstance(after, ast.Expr), (config, option.target.id)


def test_options_reach_the_section_of_the_chosen_model():
    changed = with_options(ClassifierModels(model="mlp"), hidden=(3,), batch_norm=True)
    assert changed.mlp == type(changed.mlp)(hidden=(3,), batch_norm=True)
    assert dataclasses.replace(changed, mlp=ClassifierModels().mlp) == ClassifierModels(model="mlp")
    module = changed.create(classes=2)
    assert (module.hidden, module.batch_norm, module.classes) == ((3,), True, 2)


def test_a_variants_options_are_kept_unless_given():
    def made(**options):
        model = with_options(ClassifierModels(model="vit"), **options).create(classes=2)
        return model.patch, model.pool, model.positions

    assert made(variant="b16") == (16, "token", "learned")
    assert made(variant="b16", patch=8, positions="sincos") == (8, "token", "sincos")


CLASSIFIER, VAE = ClassifierModels, VAEModels


@pytest.mark.parametrize(
    ("models", "name", "options", "message"),
    [
        (
            CLASSIFIER,
            "mlp",
            {"hidden": (4, 0)},
            r"hidden = \(4, 0\); expected widths of at least 1",
        ),
        (
            CLASSIFIER,
            "cnn",
            {"channels": (0,)},
            r"channels = \(0,\); expected widths of at least 1",
        ),
        (CLASSIFIER, "cnn", {"hidden": (-1,)}, r"hidden = \(-1,\)"),
        (CLASSIFIER, "resnet", {"variant": "cifar"}, "unknown variant 'cifar'; did you mean"),
        (CLASSIFIER, "vit", {"variant": "s14"}, "unknown variant 's14'; did you mean 's16'"),
        (CLASSIFIER, "vit", {"patch": -1}, "patch = -1; expected at least 0"),
        (CLASSIFIER, "vit", {"pool": "men"}, "unknown pool 'men'; did you mean 'mean'"),
        (CLASSIFIER, "vit", {"positions": "sin"}, "unknown positions 'sin'"),
        (VAE, "mlp", {"latent_size": 0}, "latent_size = 0; expected at least 1"),
        (VAE, "mlp", {"hidden": (0,)}, r"hidden = \(0,\); expected widths of at least 1"),
        (VAE, "mlp", {"activation": "tahn"}, "unknown activation 'tahn'; did you mean 'tanh'"),
        (VAE, "conv", {"flows": -1}, "flows = -1; expected at least 0"),
        (VAE, "conv", {"blocks": -1}, "blocks = -1; expected at least 0"),
        (VAE, "conv", {"features": 0}, "features = 0; expected at least 1"),
        (VAE, "ladder", {"depth": ()}, r"depth = \(\); expected 1 to 4 numbers of groups"),
        (VAE, "ladder", {"depth": (0, 0)}, r"depth = \(0, 0\); expected 1 to 4 numbers of groups"),
        (VAE, "ladder", {"width": 0}, "width = 0; expected at least 1"),
        (VAE, "vqvae", {"codes": 0}, "codes = 0; expected at least 1"),
        (VAE, "vqvae", {"activation": "rely"}, "did you mean 'relu'"),
    ],
)
def test_what_a_model_cannot_have_is_refused(models, name, options, message):
    models = with_options(models(model=name), **options)
    with pytest.raises(InputError, match=message):
        models.validate()
    shape = () if isinstance(models, CLASSIFIER) else ((8, 8, 1), 1)
    with pytest.raises(InputError, match=message):
        models.create(*shape, 2)


@pytest.mark.parametrize("models", [ClassifierModels, VAEModels, GANModels])
def test_unknown_models_are_refused(models):
    known = models().model
    with pytest.raises(InputError, match=f"unknown model '{known}n'; did you mean '{known}'"):
        models(model=known + "n").validate()
