"""Train a variational autoencoder on images.

    python -m experiments.vae                                   # digits, under a minute on a CPU
    python -m experiments.vae --data binarized_mnist --data-dir DIR --model ladder
    python -m experiments.vae --preset burda-iwae-50 --data-dir DIR
    python -m experiments.vae --workdir DIR --mode evaluate --samples 5000
    python -m experiments.vae --workdir DIR --mode sample --count 1000 --output samples.npz

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores with their protocol), checkpoints/ and samples/ (prior samples at every evaluation,
reconstructions, interpolations, traversals and a map of the latents).
"""

import sys
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.judges import judges_of
from experiments.vae_report import VAEReport
from jaxmodels import across
from jaxmodels.data import Resident, load_images, resize_images
from jaxmodels.errors import InputError, require_known
from jaxmodels.models import VAES, create_vae
from jaxmodels.models.vae_networks import ACTIVATIONS
from jaxmodels.objectives.likelihoods import LIKELIHOODS, Likelihood, make_likelihood
from jaxmodels.objectives.preprocessing import with_preprocessing
from jaxmodels.objectives.vae import importance_sampled, vae
from jaxmodels.objectives.variational_config import VariationalConfig
from jaxmodels.protocol import example_keys
from jaxmodels.train import Experiment, TrainConfig, main, require_range


@dataclass(frozen=True, kw_only=True)
class VAEConfig(VariationalConfig, TrainConfig):
    """Train, resume, evaluate and sample a variational autoencoder."""

    experiment: ClassVar[str] = "vae"
    free_when_read: ClassVar[frozenset[str]] = frozenset(
        {"judge", "inception", "samples", "scored", "draw"}
    )

    preset: str = ""
    """Start from a named set of flags, which others given replace. Known: pythae, flax, burda-vae,
    burda-iwae-5, burda-iwae-50, beta, beta-tc, wae, vqvae, ladder, iaf, conditional."""
    model: str = "conv"
    """Network: mlp, conv, ladder (hierarchical) or vqvae (codebook and autoregressive prior)."""
    latent_size: int = 16
    """Latents; of a ladder, per position and group."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the linear layers (mlp)."""
    activation: str = ""
    """Between layers: relu, tanh, elu or gelu; empty: the architecture's own (mlp, conv, vqvae)."""
    flows: int = 0
    """Inverse autoregressive flows of the posterior (mlp, conv)."""
    width: int = 32
    """Channels at half the image's size (conv, vqvae), or everywhere (ladder)."""
    blocks: int = 0
    """Residual blocks at a quarter of the image's size, each way (conv, vqvae)."""
    features: int = 256
    """Width of the linear layers next to the latents (conv)."""
    depth: tuple[int, ...] = (1, 2, 3)
    """Groups of latents at one pixel, an eighth, a quarter (and half) of the size (ladder)."""
    codes: int = 128
    """Size of the codebook (vqvae)."""
    code_size: int = 32
    """Numbers that a code stands for (vqvae)."""
    conditional: bool = False
    """Tell encoder and decoder the class."""
    likelihood: str = ""
    """p(x|z): bernoulli, gaussian or logistic_mixture (of the stored levels of grey); empty:
    bernoulli for images that are black and white, and else logistic_mixture."""
    binarize: Literal["", "dynamic", "none"] = ""
    """Binarise images at random, with their grey as probability: dynamic, anew at every step (fixed
    in validation and test); none: as they are; empty: dynamic for bernoulli."""
    mixtures: int = 5
    """Logistics per pixel (logistic_mixture)."""
    scale: float = 0.0
    """Standard deviation of gaussian, for pixels in 0..1; 0: learned for each pixel."""
    image_size: int = 0
    """Resize images to this many pixels a side; 0: as they are."""
    steps: int = 3000
    """Length of training in steps (updates)."""
    ema: float = 0.995
    """Decay of the average of parameters to evaluate and sample with; 0: no average."""
    eval_every: int = 1000
    """Steps between evaluations."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    log_every: int = 100
    """Steps between lines of training metrics, each their mean since the last line."""
    samples: int = 100
    """Importance samples per image for the nll of the last evaluation."""
    scored: int = 10_000
    """Prior samples whose Fréchet distance to the images is taken after the last step; 0: none."""
    draw: Literal["mean", "sample"] = "mean"
    """Images of latents: the mean of p(x|z), or a draw of it."""
    judge: str = ""
    """Run folder of experiments.classifier whose features distances are computed from; empty: a
    classifier of this data that is trained once and kept (without labels: the pixels)."""
    inception: str = ""
    """File with the weights of the FID Inception network (see experiments.gan)."""

    def validate(self) -> None:
        TrainConfig.validate(self)
        VariationalConfig.validate(self)
        if self.likelihood:
            require_known("likelihood", self.likelihood, LIKELIHOODS)
        require_range(
            self, ("latent_size", "width", "features", "codes", "code_size", "mixtures"), 1
        )
        require_range(self, ("flows", "blocks", "image_size", "scored", "scale"))
        if self.samples < 1:
            raise InputError(
                f"samples = {self.samples}; expected at least 1 importance sample per image"
            )
        if self.activation:
            require_known("activation", self.activation, ACTIVATIONS)
        if any(width < 1 for width in self.hidden):
            raise InputError(f"hidden = {self.hidden}; expected widths of at least 1")
        if not 1 <= len(self.depth) <= 4 or min(self.depth) < 0 or not sum(self.depth):
            raise InputError(
                f"depth = {self.depth}; expected 1 to 4 numbers of groups, not all of them 0"
            )
        pairs = self.objective in ("beta_tc", "infovae", "wae")
        if pairs and self.batch_size < 2 * self.accumulate:
            raise InputError(
                f"batch_size = {self.batch_size}; {self.objective} compares the images of a batch:"
                " at least 2 in each part"
            )


_BURDA = VAEConfig(
    data="mnist",
    model="mlp",
    likelihood="bernoulli",
    hidden=(200, 200),
    activation="tanh",
    latent_size=50,
    batch_size=20,
    # 3^i epochs at 1e-3 * 10^(-i/7) for i = 0..7.
    steps=3000 * 3280,
    schedule="milestones",
    milestones=tuple(3000 * epochs for epochs in (1, 4, 13, 40, 121, 364, 1093)),
    decay_rate=10 ** (-1 / 7),
    epsilon=1e-4,
    ema=0.0,
    samples=5000,
    eval_every=30_000,
    checkpoint_every=30_000,
    log_every=3000,
)

PRESETS = {
    # pythae's reproduction of the VAE: 500 epochs of the fixed binarisation.
    "pythae": VAEConfig(
        data="binarized_mnist",
        model="mlp",
        hidden=(400,),
        latent_size=40,
        batch_size=100,
        steps=250_000,
        learning_rate=1e-4,
        schedule="milestones",
        milestones=(100_000, 175_000),
        decay_rate=10**-0.2,
        ema=0.0,
        samples=200,
        eval_every=2500,
        checkpoint_every=12_500,
        log_every=2500,
    ),
    # Flax's example: 10 epochs of the fixed binarisation.
    "flax": VAEConfig(
        data="binarized_mnist",
        model="mlp",
        hidden=(500,),
        latent_size=20,
        batch_size=128,
        steps=3900,
        learning_rate=1e-3,
        schedule="constant",
        ema=0.0,
        eval_every=390,
        log_every=390,
    ),
    # Burda et al. 2016, table 1, one stochastic layer; MNIST binarised anew at every step.
    "burda-vae": _BURDA,
    "burda-iwae-5": replace(_BURDA, objective="iwae", particles=5),
    "burda-iwae-50": replace(_BURDA, objective="iwae", particles=50),
    # Higgins et al. 2017.
    "beta": VAEConfig(beta=4.0),
    # Chen et al. 2018.
    "beta-tc": VAEConfig(objective="beta_tc", beta=6.0),
    # Tolstikhin et al. 2018.
    "wae": VAEConfig(objective="wae", mmd=100.0),
    # van den Oord et al. 2017, with a transformer for the codes.
    "vqvae": VAEConfig(model="vqvae", blocks=1),
    # Child 2021, small.
    "ladder": VAEConfig(model="ladder", kl_warmup=1000, batch_size=64),
    # Kingma et al. 2016.
    "iaf": VAEConfig(flows=2),
    "conditional": VAEConfig(conditional=True),
}


def build(config: VAEConfig) -> Experiment:
    """The experiment that a config describes."""
    data = load_images(
        config.data,
        config.data_dir,
        skip_bad_records=config.skip_bad_records,
        validation_fraction=config.validation_fraction,
    )
    if config.conditional and not data.class_names:
        raise InputError(
            f"conditional = True; data '{config.data}' has no labels: give --no-conditional"
        )
    stored = data.splits["train"]["image"]
    low, white = float(stored.min()), float(stored.max())
    if low < 0:
        raise InputError(
            f"likelihood = {config.likelihood}; images of '{config.data}' span {low:g}..{white:g};"
            " expected pixels that start at 0, which are scaled to 0..1"
        )
    data = resize_images(data, config.image_size)
    shape = data.splits["train"]["image"].shape[1:]
    classes = len(data.class_names) if config.conditional else 0
    levels = _levels(data.splits["train"]["image"], white)
    name = config.likelihood or ("bernoulli" if levels == 2 else "logistic_mixture")
    binarized = (config.binarize or "dynamic") == "dynamic" and name == "bernoulli"
    if config.binarize == "dynamic" and not binarized:
        raise InputError(
            f"binarize = dynamic, likelihood = {name}; binary images have --likelihood bernoulli"
        )
    binarized &= levels != 2  # black and white images would stay as they are
    if name == "logistic_mixture" and not levels:
        raise InputError(
            f"likelihood = {name}; pixels of '{config.data}' are no integers (are they resized?);"
            " expected stored levels of grey, or --likelihood gaussian"
        )
    levels = levels or 256
    likelihood = make_likelihood(
        name, shape[2], levels, mixtures=config.mixtures, scale=config.scale
    )
    dtype = jnp.dtype(config.precision)
    options = _model_options(config)
    model = create_vae(config.model, shape, likelihood.size, classes, dtype, **options)
    splits = {
        name: {**columns, "image": _binarized(columns["image"], white)}
        if binarized and name != "train"
        else columns
        for name, columns in data.splits.items()
    }
    train = Resident(splits["train"])
    evaluation = {
        split: Resident(splits[split]) for split in ("validation", "test") if split in splits
    }
    objective = vae(
        model,
        likelihood,
        config,
        steps=config.steps,
        shape=shape,
        dataset_size=train.size,
        classes=classes,
        accumulate=config.accumulate,
        draw=config.draw,
    )

    def prepare(batch, key):
        image = batch["image"].astype(jnp.float32)
        if not (binarized or likelihood.dequantized):
            return {**batch, "image": image / white}
        positions = batch.get("position", across.positions(len(image)))
        keys = example_keys(key, positions)
        noise = jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)
        if binarized:
            return {**batch, "image": (noise * white < image).astype(jnp.float32)}
        return {**batch, "image": (image * ((levels - 1) / white) + noise) / levels}

    report = None
    if config.mode != "sample" and not config.debug:
        # What is wrong with the network should be said before a judge is trained.
        prepared = with_preprocessing(objective, prepare)
        numbers = config.hyperparameters()
        jax.eval_shape(lambda key: prepared.init(key, train.spec(1), numbers), jax.random.key(0))
        judges = []
        if config.scored:
            judges = judges_of(data, config.data_dir, config.judge, config.inception, shape)
        estimate = objective._replace(
            evaluate=importance_sampled(model, likelihood, config.samples, classes)
        )
        protocol = {
            "likelihood": name,
            "images": _image_protocol(likelihood, binarized, white, levels),
            "importance_samples": config.samples,
            "parameters": f"average, decay {config.ema:g}" if config.ema else "last",
        }
        report = VAEReport(
            config, data, objective, with_preprocessing(estimate, prepare), judges, white, protocol
        )
    return Experiment(
        objective=with_preprocessing(objective, prepare),
        hyperparameters=config.hyperparameters(),
        train=train,
        evaluation=evaluation,
        monitor=("elbo", "max"),
        facts={"data": data.facts(), "scaling": [0.0, white], "levels": levels},
        after_evaluation=report,
    )


def _model_options(config: VAEConfig) -> dict:
    """The model's own options, and those of other models that were asked for, to be refused."""
    require_known("model", config.model, VAES)
    options = {}
    for name in {option: None for _, known in VAES.values() for option in known}:
        value, standard = getattr(config, name), getattr(VAEConfig, name)
        if value != standard or (name in VAES[config.model][1] and value != ""):
            options[name] = value
    return options


def _levels(images: np.ndarray, white: float) -> int:
    """How many values a pixel may have; 0 where pixels are no integers."""
    if not np.issubdtype(images.dtype, np.integer):
        return 0
    black_and_white = bool(((images == 0) | (images == white)).all())
    return 2 if black_and_white else int(white) + 1


def _binarized(images: np.ndarray, white: float) -> np.ndarray:
    """Black or white at random, always the same; binary images stay as they are."""
    noise = np.random.Generator(np.random.Philox(0)).random(images.shape, np.float32)
    return np.where(noise * white < images, images.dtype.type(white), images.dtype.type(0))


def _image_protocol(likelihood: Likelihood, binarized: bool, white: float, levels: int) -> str:
    if binarized:
        return f"binarised with probability pixel / {white:g}, validation and test once for all"
    if levels == 2:
        return "stored as black and white"
    if likelihood.name == "bernoulli":
        return "pixels in 0..1: unless they are binary the elbo is a cross-entropy, no likelihood"
    if likelihood.dequantized:
        return f"uniform noise in each of {levels} levels; a bound for the discrete images"
    return f"{levels} levels"


if __name__ == "__main__":
    sys.exit(main(VAEConfig, build, PRESETS))
