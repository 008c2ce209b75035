"""Blocks of pixels as channels and back: what turns a stride into one."""

from jaxtyping import Array, Float

from jaxmodels.ops.convolution_native import Pair


def space_to_depth(
    x: Float[Array, "batch height width channels"], block: Pair
) -> Float[Array, "batch height/rows width/columns rows*columns*channels"]:
    """Each block of rows and columns as one pixel; sides must be multiples of the block's."""
    batch, height, width, channels = x.shape
    rows, columns = block
    x = x.reshape(batch, height // rows, rows, width // columns, columns, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(*x.shape[:3], rows * columns * channels)


def depth_to_space(
    x: Float[Array, "batch height width rows*columns*channels"], block: Pair
) -> Float[Array, "batch height*rows width*columns channels"]:
    """The inverse of `space_to_depth`."""
    batch, height, width, depth = x.shape
    rows, columns = block
    x = x.reshape(batch, height, width, rows, columns, depth // (rows * columns))
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * rows, width * columns, -1)


def kernel_to_depth(
    kernel: Float[Array, "height width inputs outputs"], block: Pair
) -> Float[Array, "height/rows width/columns rows*columns*inputs outputs"]:
    """The kernel that does at stride 1, on what `space_to_depth` makes of an image, what this one
    does to the image at strides as large as the block."""
    height, width, inputs, outputs = kernel.shape
    rows, columns = block
    kernel = kernel.reshape(height // rows, rows, width // columns, columns, inputs, outputs)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(*kernel.shape[:2], rows * columns * inputs, outputs)
