"""Blocks of pixels as channels and back, which turn a strided convolution into one at stride 1."""

from jaxtyping import Array, Float

from jaxmodels.ops.convolution_native import Pair


def space_to_depth(
    x: Float[Array, "batch height width channels"], block: Pair
) -> Float[Array, "batch block_rows block_columns depth"]:
    """Joins each block of pixels to one pixel, whose depth is the block's pixels times channels.

    block: rows and columns of a block; they must divide the image's height and width.
    """
    batch, height, width, channels = x.shape
    rows, columns = block
    x = x.reshape(batch, height // rows, rows, width // columns, columns, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(*x.shape[:3], rows * columns * channels)


def depth_to_space(
    x: Float[Array, "batch block_rows block_columns depth"], block: Pair
) -> Float[Array, "batch height width channels"]:
    """Takes each pixel apart into a block of pixels: the inverse of `space_to_depth`."""
    batch, height, width, depth = x.shape
    rows, columns = block
    x = x.reshape(batch, height, width, rows, columns, depth // (rows * columns))
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * rows, width * columns, -1)


def kernel_to_depth(
    kernel: Float[Array, "height width inputs outputs"], block: Pair
) -> Float[Array, "block_rows block_columns depth outputs"]:
    """Rearranges a kernel for images that `space_to_depth` has rearranged.

    At stride 1 the new kernel does to the rearranged image what the old one does to the image at
    strides as large as the block.
    """
    height, width, inputs, outputs = kernel.shape
    rows, columns = block
    kernel = kernel.reshape(height // rows, rows, width // columns, columns, inputs, outputs)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(*kernel.shape[:2], rows * columns * inputs, outputs)
