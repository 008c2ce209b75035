"""pythae's VAE and trainer, set up as in its reproduction of the VAE on binarised MNIST.

pythae and torch are imported where they are used: the other peers run without them.
"""

import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Num

from jaxmodels.protocol import PyTree

if TYPE_CHECKING:
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE
    from pythae.trainers import BaseTrainer
    from pythae.trainers.training_callbacks import TrainingCallback
    from torch import nn


def relu_layers(*sizes: int) -> "list[nn.Module]":
    """Makes linear layers from each size to the next, each followed by a ReLU."""
    from torch import nn

    pairs = itertools.pairwise(sizes)
    return [layer for pair in pairs for layer in (nn.Linear(*pair), nn.ReLU())]


def pythae_vae(hidden: tuple[int, ...], latent_size: int, pixels: int, seed: int) -> "VAE":
    """Makes pythae's VAE with ReLU layers of widths `hidden` in the encoder, in reverse in the
    decoder, and a Bernoulli likelihood (pythae's default is normal, with variance 1)."""
    import torch
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from torch import nn

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*relu_layers(pixels, *hidden))
            self.embedding = nn.Linear(hidden[-1], latent_size)
            self.log_var = nn.Linear(hidden[-1], latent_size)

        def forward(self, x):
            x = self.layers(x.reshape(-1, pixels))
            return ModelOutput(embedding=self.embedding(x), log_covariance=self.log_var(x))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            layers = relu_layers(latent_size, *reversed(hidden))
            self.layers = nn.Sequential(*layers, nn.Linear(hidden[0], pixels))

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z).sigmoid())

    torch.manual_seed(seed)
    config = VAEConfig(input_dim=(pixels,), latent_dim=latent_size, reconstruction_loss="bce")
    return VAE(config, Encoder(), Decoder())


def pythae_images(images: Num[np.ndarray, "count height width 1"]) -> "BaseDataset":
    """Makes pythae's data set of binary images."""
    import torch
    from pythae.data.datasets import BaseDataset

    rows = torch.tensor(images.reshape(len(images), -1)).float()
    return BaseDataset(rows, torch.ones(len(images)))


def trainer_without_files(
    model: "VAE",
    train: "BaseDataset",
    validation: "BaseDataset | None" = None,
    callbacks: "list[TrainingCallback] | None" = None,
    **settings,
) -> "BaseTrainer":
    """Makes pythae's trainer, on the CPU and writing no files. settings: of BaseTrainerConfig."""
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Trainer(BaseTrainer):
        def _set_output_dir(self):
            self.training_dir = ""

        def save_model(self, model, dir_path):
            pass

    config = BaseTrainerConfig(no_cuda=True, **settings)
    return Trainer(model, train, validation, config, callbacks)


def train_pythae(
    model: "VAE",
    train: Num[np.ndarray, "count height width 1"],
    validation: Num[np.ndarray, "validation height width 1"],
    after_epoch: Callable[[int, float, float, float], None],
    **settings,
) -> "VAE":
    """Trains with pythae's trainer; returns the model that it would save, that of the epoch with
    the least validation loss.

    after_epoch: called with the epoch, pythae's training and validation loss, and the seconds of
      training.
    settings: of BaseTrainerConfig.
    """
    from pythae.trainers.training_callbacks import TrainingCallback

    class Reporter(TrainingCallback):
        def on_train_step_begin(self, training_config, **_):
            self.began = time.perf_counter()

        def on_eval_step_begin(self, training_config, **_):
            self.seconds = time.perf_counter() - self.began

        def on_log(self, training_config, logs, *, global_step, **_):
            losses = logs["train_epoch_loss"], logs["eval_epoch_loss"]
            after_epoch(global_step, *losses, self.seconds)

    images = pythae_images(train), pythae_images(validation)
    # Hides pythae's logs and progress bars.
    logging.disable(logging.INFO)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        trainer = trainer_without_files(model, *images, [Reporter()], **settings)
        trainer.train()
    logging.disable(logging.NOTSET)
    return trainer._best_model


def params_of(model: "VAE") -> PyTree:
    """Copies the weights of `model` into parameters of jaxmodels.models.vae.VAE (mlp)."""
    from torch import nn

    def dense(*layers: nn.Linear) -> dict[str, np.ndarray]:
        kernels, biases = (
            [getattr(layer, name).detach().numpy().T for layer in layers]
            for name in ("weight", "bias")
        )
        # `concatenate` copies the weights, which torch goes on training.
        return {"kernel": np.concatenate(kernels, 1), "bias": np.concatenate(biases)}

    def numbered(layers: nn.Sequential) -> dict[str, dict[str, np.ndarray]]:
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        return {f"Dense_{index}": dense(layer) for index, layer in enumerate(linear)}

    return {
        "encoder": numbered(model.encoder.layers),
        "moments": dense(model.encoder.embedding, model.encoder.log_var),
        "decoder": numbered(model.decoder.layers),
    }


def pythae_logits(
    model: "VAE", images: Num[np.ndarray, "count height width 1"]
) -> Float[np.ndarray, "count height width 1"]:
    """Computes the logits of p(x|z) at the mean of q(z|x)."""
    import torch

    with torch.no_grad():
        means = model.encoder(pythae_images(images).data).embedding
        logits = model.decoder.layers(means)
    return logits.numpy().reshape(images.shape)
