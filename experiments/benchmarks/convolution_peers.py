"""One convolution forward and backward in ours, Flax and PyTorch, for
experiments.benchmarks.convolution.

A step computes the output and, from a fixed cotangent, the gradients of kernel, bias and input (the
first layer of a network needs none of its input). Ours runs steps in a loop inside one program, as
the engine does. Flax and PyTorch call one program per step, as their loops do; inside such a loop
Flax's gradients would be many times slower on a CPU.
"""

import importlib
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.benchmarks.torch_device import synchronize, torch_device

Block = Callable[[int], None]
BATCH = 128


class Layer(NamedTuple):
    """A convolution of square images; with `to` > 0 a transposed one, to images of that size."""

    size: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    first: bool = False  # its input needs no gradient
    to: int = 0

    @property
    def transposed(self) -> bool:
        """Whether this is a transposed convolution."""
        return self.to > 0

    @property
    def out_size(self) -> int:
        """Side of the output."""
        return self.to or -(-self.size // self.stride)

    @property
    def padding(self) -> tuple[int, int]:
        """The padding for lax; in front it is that of PyTorch's layers of these networks."""
        if self.transposed:
            return 2, 2 - self.to % 2
        low = (self.kernel - 1) // 2
        total = (self.out_size - 1) * self.stride + self.kernel - self.size
        return low, max(total - low, 0)

    def flops(self) -> int:
        """Counts the operations of a step: a product for the output and for each gradient."""
        pixels = min(self.size, self.out_size) ** 2
        products = pixels * self.kernel**2 * self.inputs * self.outputs
        return 2 * BATCH * products * (2 if self.first else 3)

    def arrays(
        self,
    ) -> tuple[
        Float[np.ndarray, "batch size size inputs"], Float[np.ndarray, "batch out out outputs"]
    ]:
        """Draws the input and the cotangent of the output."""
        generator = np.random.default_rng(0)
        shapes = (self.size, self.inputs), (self.out_size, self.outputs)
        return tuple(
            generator.standard_normal((BATCH, side, side, channels), np.float32)
            for side, channels in shapes
        )


LAYERS = {
    "CNN 1": Layer(28, 1, 32, first=True),
    "CNN 2": Layer(14, 32, 64),
    "ResNet-18 stem": Layer(28, 1, 64, first=True),
    "ResNet-18 layer1": Layer(28, 64, 64),
    "ResNet-18 layer2.0": Layer(28, 64, 128, stride=2),
    "ResNet-18 layer2.0 1x1": Layer(28, 64, 128, kernel=1, stride=2),
    "ResNet-18 layer2": Layer(14, 128, 128),
    "ResNet-18 layer3.0": Layer(14, 128, 256, stride=2),
    "ResNet-18 layer3.0 1x1": Layer(14, 128, 256, kernel=1, stride=2),
    "ResNet-18 layer3": Layer(7, 256, 256),
    "ResNet-18 layer4.0": Layer(7, 256, 512, stride=2),
    "ResNet-18 layer4.0 1x1": Layer(7, 256, 512, kernel=1, stride=2),
    "ResNet-18 layer4": Layer(4, 512, 512),
    "DCGAN discriminator 1": Layer(28, 1, 64, kernel=4, stride=2),
    "DCGAN discriminator 2": Layer(14, 64, 128, kernel=4, stride=2),
    "DCGAN discriminator 3": Layer(7, 128, 256, kernel=4, stride=2),
    "DCGAN generator 1": Layer(4, 256, 128, kernel=4, stride=2, to=7),
    "DCGAN generator 2": Layer(7, 128, 64, kernel=4, stride=2, to=14),
    "DCGAN generator 3": Layer(14, 64, 1, kernel=4, stride=2, to=28),
    "VAE encoder 1": Layer(28, 1, 32, kernel=4, stride=2, first=True),
    "VAE encoder 2": Layer(14, 32, 64, kernel=4, stride=2),
    "VAE decoder 1": Layer(7, 64, 32, kernel=4, stride=2, to=14),
    "VAE decoder 2": Layer(14, 32, 1, kernel=4, stride=2, to=28),
}


def _step(layer: Layer, module) -> tuple[Callable, tuple]:
    """Makes step(parameters, x, g) -> (output, gradients) of a Linen module, and arguments."""
    import jax
    import jax.numpy as jnp

    x, g = map(jnp.asarray, layer.arrays())
    parameters = module.init(jax.random.key(0), x[:1])

    def step(parameters, x, g):
        if layer.first:
            y, pull = jax.vjp(lambda parameters: module.apply(parameters, x), parameters)
        else:
            y, pull = jax.vjp(module.apply, parameters, x)
        return y, pull(g)

    return step, (parameters, x, g)


def _module(layer: Layer, conv: type, conv_transpose: type):
    kind = conv_transpose if layer.transposed else conv
    size, strides = (layer.kernel,) * 2, (layer.stride,) * 2
    return kind(layer.outputs, size, strides, padding=(layer.padding,) * 2)


def ours(name: str) -> Block:
    """Runs our module in a loop inside one program."""
    from jaxmodels.models.layers import Conv, ConvTranspose

    return _loop(LAYERS[name], Conv, ConvTranspose)


def flax_looped(name: str) -> Block:
    """Runs Flax Linen's own module in the same loop."""
    from flax import linen as nn

    return _loop(LAYERS[name], nn.Conv, nn.ConvTranspose)


def _loop(layer: Layer, conv: type, conv_transpose: type) -> Block:
    import jax
    import jax.numpy as jnp

    from jaxmodels.ops import cpu_compiler_options

    step, arguments = _step(layer, _module(layer, conv, conv_transpose))

    def advance(steps, arguments):
        def body(_, carry):
            (y, _), (parameters, x, g) = carry
            # XLA would move a step that does not depend on the one before out of the loop.
            hint = jax.lax.slice(y, (0, 0, 0, 0), (1, 1, 1, 1)) * 1e-6
            x = jax.lax.dynamic_update_slice(x, hint, (0, 0, 0, 0))
            g = jax.lax.dynamic_update_slice(g, hint, (0, 0, 0, 0))
            return step(parameters, x, g), (parameters, x, g)

        like = jax.eval_shape(step, *arguments)
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return jax.lax.fori_loop(0, steps, body, (empty, arguments))[0]

    run = jax.jit(advance, compiler_options=cpu_compiler_options())

    def block(steps: int) -> None:
        jax.block_until_ready(run(steps, arguments))

    return block


def native(name: str) -> Block:
    """Runs the peer that `name` gives as module:peer:task with XLA's own convolutions."""
    from jaxmodels.ops.convolution import NATIVE

    module, peer, task = name.split(":")
    os.environ[NATIVE] = "1"
    return getattr(importlib.import_module(module), peer)(task)


def flax(name: str) -> Block:
    """Runs Flax Linen's own module: calls a jitted function for each step."""
    import jax
    from flax import linen as nn

    layer = LAYERS[name]
    step, arguments = _step(layer, _module(layer, nn.Conv, nn.ConvTranspose))
    run = jax.jit(step)

    def block(steps: int) -> None:
        for _ in range(steps):
            result = run(*arguments)
        jax.block_until_ready(result)

    return block


def torch_channels_last(name: str) -> Block:
    """Runs PyTorch eager, layer and arrays in the memory format channels_last."""
    return _torch_block(LAYERS[name])


def torch_compiled(name: str) -> Block:
    """Runs the same layer through torch.compile."""
    return _torch_block(LAYERS[name], compiled=True)


def _torch_block(layer: Layer, compiled: bool = False) -> Block:
    import torch
    from torch import nn

    odd = max(layer.size, layer.to) % 2
    options = {"kernel_size": layer.kernel, "stride": layer.stride}
    if layer.transposed:
        options |= {"padding": 1 + odd, "output_padding": odd}
        module = nn.ConvTranspose2d(layer.inputs, layer.outputs, **options)
    else:
        # An even kernel halves an odd size with as much padding behind as in front.
        more = odd if layer.kernel % 2 == 0 else 0
        options["padding"] = (layer.kernel - 1) // 2 + more
        module = nn.Conv2d(layer.inputs, layer.outputs, **options)
    module.to(torch_device(), memory_format=torch.channels_last)
    run = torch.compile(module) if compiled else module
    x, g = (
        torch.tensor(array.transpose(0, 3, 1, 2)).to(
            torch_device(), memory_format=torch.channels_last
        )
        for array in layer.arrays()
    )
    x.requires_grad_(not layer.first)

    def block(steps: int) -> None:
        for _ in range(steps):
            x.grad = None
            module.zero_grad()
            run(x).backward(g)
        synchronize()

    return block
