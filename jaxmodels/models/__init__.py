"""Flax Linen modules: array in, array out. A new architecture is one file and one line here."""

from flax import linen as nn

from jaxmodels.errors import require_known
from jaxmodels.models.cnn import CNN
from jaxmodels.models.mlp import MLP

MODELS = {"mlp": MLP, "cnn": CNN}


def create_model(name: str, **options) -> nn.Module:
    """The named architecture. Raises InputError for an unknown name."""
    require_known("model", name, MODELS)
    return MODELS[name](**options)
