"""DETR against transformers: logits and boxes of perturbed weights, names of old and new files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.detr import DETRConfig
from jaxmodels.models.detr_names import flags_from_published, is_published, published
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.set_detection import SetDetection
from jaxmodels.ops.boxes import centred
from jaxmodels.pretrained import load, open_weights
from jaxmodels.protocol import Mean
from tests.marks import slow
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

BOXES = jnp.array(
    [[[3, 5, 40, 30], [50, 10, 90, 60], [20, 20, 60, 50]], [[0, 0, 96, 64]] * 3], jnp.float32
)
PARTS = ("class_loss", "box_loss")
SIZES = {"encoder_layers": 1, "decoder_layers": 2, "d_model": 16}
SIZES |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_queries": 5}
SIZES |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}


def perturbed(**options):
    """A small DETR of transformers whose numbers all differ from their start."""
    from transformers import DetrConfig, DetrForObjectDetection

    model = DetrForObjectDetection(DetrConfig(num_labels=3, **options, **SIZES)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, array in model.state_dict().items():
            if array.is_floating_point():
                noise = torch.rand(array.shape, generator=generator)
                array.add_(0.5 * noise if "running_var" in name else 0.05 * (noise - 0.5))
    return model


@pytest.fixture(scope="module")
def theirs():
    """That on a ResNet-18."""
    allow_torchvision()
    from transformers import ResNetConfig

    backbone = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        out_features=["stage4"],
    )
    return perturbed(use_timm_backbone=False, backbone=None, backbone_config=backbone)


def their_labels(batch):
    """The objects of a batch, as transformers takes them."""
    labels = []
    for some, own in zip(batch["boxes"], batch["labels"], strict=True):
        shares = np.array(centred(some / jnp.array([96.0, 64, 96, 64])))[own >= 0]
        classes = torch.from_numpy(np.array(own)[own >= 0]).long()
        labels.append({"class_labels": classes, "boxes": torch.from_numpy(shares)})
    return labels


def renamed(name):
    """The names of transformers 4 and of the files of DETR's authors."""
    for new, old in (
        ("model.backbone.model.", "model.backbone.conv_encoder.model."),
        (".o_proj.", ".out_proj."),
        (".mlp.fc", ".fc"),
    ):
        name = name.replace(new, old)
    return name


def read_as_theirs(folder, theirs, name_of, image):
    """Writes their weights by other names and reads them; logits and boxes are theirs. Returns our
    flags, model and outputs."""
    from safetensors.torch import save_file

    arrays = {name_of(name): array.contiguous() for name, array in theirs.state_dict().items()}
    save_file(arrays, folder / "model.safetensors")
    (folder / "config.json").write_text(theirs.config.to_json_string())
    weights = open_weights(folder)
    assert is_published(weights)
    flags = flags_from_published(weights)
    assert flags.pop("model") == "detr"
    config = DETRConfig(**flags)
    model = config.create(3)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.array(image))
    variables = load(weights, published(config, weights), shapes)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2)))
    found = jax.jit(model.apply)(variables, jnp.array(image))
    np.testing.assert_allclose(found.logits[-1], expected.logits, atol=1e-5)
    np.testing.assert_allclose(found.boxes[-1], expected.pred_boxes, atol=1e-5)
    return flags, model, found


@pytest.mark.slow
def test_the_layout_of_the_authors_files_is_read(tmp_path):
    """That of facebook/detr-resnet-50: bottlenecks by timm's names, below an old prefix."""
    allow_torchvision()
    pytest.importorskip("timm")
    theirs = perturbed()
    names = {renamed(name) for name in theirs.state_dict()}
    prefix = "model.backbone.conv_encoder.model."
    assert {f"{prefix}conv1.weight", f"{prefix}layer3.5.conv3.weight"} <= names
    assert {f"{prefix}layer1.0.downsample.1.running_var", "class_labels_classifier.bias"} <= names
    assert {"model.decoder.layers.1.encoder_attn.out_proj.weight"} <= names
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    flags, _, _ = read_as_theirs(tmp_path, theirs, renamed, image)
    assert (flags["backbone"], flags["queries"], flags["hidden"]) == ("resnet50", 5, 24)


@pytest.mark.parametrize("old", [False, slow(True)])
def test_logits_and_boxes_are_theirs(tmp_path, theirs, old):
    image = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    name_of = renamed if old else str
    flags, model, found = read_as_theirs(tmp_path, theirs, name_of, image)
    assert (flags["backbone"], flags["width"]) == ("resnet18", 16)
    if old:
        return
    # Their loss without those of the layers before the last.
    last = found._replace(logits=found.logits[-1:], boxes=found.boxes[-1:])
    optimizer = OptimizerConfig()
    objective = SetDetection(model=model, classes=3, optimizer=optimizer, steps=1)
    for classes in ([[2, 0, 0], [1, -1, -1]], [[-1] * 3] * 2):  # some objects, and none
        batch = {"boxes": BOXES, "labels": jnp.array(classes)}
        losses = objective.picture_losses(last, objective.extended(batch, jax.random.key(0)))
        sums = {name: Mean(getattr(losses, name).sum(), losses.count.sum()) for name in PARTS}
        ours_loss = objective.summarize(sums)["loss"]
        with torch.no_grad():
            pixels = torch.from_numpy(image.transpose(0, 3, 1, 2))
            expected = theirs(pixels, labels=their_labels(batch))
        assert ours_loss == pytest.approx(float(expected.loss), rel=1e-5)
