"""DETR against transformers: logits and boxes of perturbed weights, names of old and new files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.detr import DETRConfig
from jaxmodels.models.detr_names import flags_from_published, published
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.set_detection import SetDetection
from jaxmodels.ops.boxes import centred
from jaxmodels.pretrained import load, open_weights
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

SIZES = {"encoder_layers": 1, "decoder_layers": 2, "d_model": 16}
SIZES |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_queries": 5}
SIZES |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}


@pytest.fixture(scope="module")
def theirs():
    """A small DETR on a ResNet-18 of transformers whose numbers all differ from their start."""
    allow_torchvision()
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = DetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone, num_labels=3, **SIZES
    )
    model = DetrForObjectDetection(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, array in model.state_dict().items():
            if array.is_floating_point():
                noise = torch.rand(array.shape, generator=generator)
                array.add_(0.5 * noise if "running_var" in name else 0.05 * (noise - 0.5))
    return model


def ours():
    config = DETRConfig(backbone="resnet18", width=16, heads=4, hidden=24, queries=5)
    config = DETRConfig(
        **{**vars(config), "encoder_layers": 1, "decoder_layers": 2},
    )
    return config, config.create(3)


def renamed(name):
    """The names of transformers 4 and of the files of DETR's authors."""
    for new, old in (
        ("model.backbone.model.", "model.backbone.conv_encoder.model."),
        (".o_proj.", ".out_proj."),
        (".mlp.fc", ".fc"),
    ):
        name = name.replace(new, old)
    return name


@pytest.mark.parametrize("old", [False, True])
def test_logits_and_boxes_are_theirs(tmp_path, theirs, old):
    from safetensors.torch import save_file

    arrays = {
        renamed(name) if old else name: array.contiguous()
        for name, array in theirs.state_dict().items()
    }
    save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(theirs.config.to_json_string())
    weights = open_weights(tmp_path)
    flags = flags_from_published(weights)
    assert (flags["backbone"], flags["width"]) == ("resnet18", 16)
    config, model = ours()
    image = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.array(image))
    variables = load(weights, published(config, weights), shapes)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2)))
    found = jax.jit(model.apply)(variables, jnp.array(image))
    np.testing.assert_allclose(found.logits[-1], expected.logits, atol=1e-5)
    np.testing.assert_allclose(found.boxes[-1], expected.pred_boxes, atol=1e-5)
    if old:
        return
    # Their loss without those of the layers before the last.
    last = found._replace(logits=found.logits[-1:], boxes=found.boxes[-1:])
    boxes = [[[3, 5, 40, 30], [50, 10, 90, 60], [20, 20, 60, 50]], [[0, 0, 96, 64]] * 3]
    batch = {
        "boxes": jnp.array(boxes, jnp.float32),
        "labels": jnp.array([[2, 0, 0], [1, -1, -1]]),
    }
    optimizer = OptimizerConfig()
    objective = SetDetection(model=model, classes=3, optimizer=optimizer, steps=1)
    losses = objective.picture_losses(last, objective.extended(batch, jax.random.key(0)))
    labels = []
    for some, own in zip(batch["boxes"], batch["labels"], strict=True):
        shares = np.array(centred(some / jnp.array([96.0, 64, 96, 64])))[own >= 0]
        classes = torch.from_numpy(np.array(own)[own >= 0]).long()
        labels.append({"class_labels": classes, "boxes": torch.from_numpy(shares)})
    with torch.no_grad():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2)), labels=labels)
    ours_loss = float(losses.loss.sum() / losses.count.sum())
    assert ours_loss == pytest.approx(float(expected.loss), rel=1e-5)
