"""Published weights in memory, and networks of others as such."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxmodels.pretrained import Stored, Weights, load


def in_memory(arrays, config=None):
    """Arrays by their published names, as if a file held them."""
    stored = {
        name: Stored(array.shape, array.dtype, partial(np.asarray, array))
        for name, array in arrays.items()
    }
    return Weights(Path("memory"), stored, config or {})


def weights_of(network, of=lambda tensor: tensor):
    """The state of a network of torch, or what `of` gives for each of its parameters, say the
    gradient, and for each buffer."""
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    named = {name: tensor for name, tensor in tensors.items() if name in network.state_dict()}
    return in_memory({name: of(tensor).detach().numpy() for name, tensor in named.items()})


def variables_of(network, published, model, example, of=lambda tensor: tensor):
    """Those of our model, strictly filled from a network of torch."""
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), example)
    return load(weights_of(network, of), published, shapes)
