"""Exported classifiers and language models, as transformers, torchvision and timm load them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.exports.images import export_classifier
from experiments.exports.language_model import export_language_model
from jaxmodels.data.images import images_from_arrays
from jaxmodels.data.text import train_bpe
from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import ClassifierModels
from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.models.language_models import LanguageModels
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.models.vit import ViTConfig
from jaxmodels.pretrained import open_weights
from tests.data.text.test_tokenizers import texts_of
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("optimized")]

ATOL = 1e-5
SIDE, CLASSES = 32, ("cat", "dog", "hen")
RESNET = ClassifierModels(model="resnet", resnet=ResNetConfig(variant="18", depths=(1, 1), width=8))
TOKEN = ViTConfig(patch=8, width=24, depth=2, heads=3, pool="token", positions="learned")
MEAN = ViTConfig(patch=8, width=24, depth=2, heads=3)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)
    columns = {"image": images, "label": np.arange(6, dtype=np.int32) % 3}
    return images_from_arrays({"train": columns, "test": columns}, class_names=CLASSES)


def state_of(model, example):
    """A state whose average, which counts, is not its parameters."""
    generator = np.random.default_rng(0)

    def drawn(path, leaf):
        noise = generator.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key in ("var", "scale"):
            return np.exp(0.3 * noise)
        return noise / np.sqrt(np.prod(leaf.shape[:-1], initial=4))

    shapes = {"params": {}, "batch_stats": {}}
    shapes |= jax.eval_shape(model.init, jax.random.key(0), example)
    average = jax.tree_util.tree_map_with_path(drawn, shapes)
    return {"params": jax.tree.map(np.zeros_like, average["params"]), "ema": average}


def exported(models, data, naming, output):
    """Exports a random network; gives images, prepared as the run does, and our logits of them."""
    model = models.create(len(CLASSES))
    generator = np.random.default_rng(1)
    # Of one colour each and some noise: a random network hardly tells noise from noise.
    images = generator.integers(0, 200, (4, 1, 1, 3)) + generator.integers(
        0, 56, (4, SIDE, SIDE, 3)
    )
    images = images.astype(np.uint8)
    x = data.normalization()(images)
    state = state_of(model, x)
    export_classifier(models, data, data.normalization(), (SIDE, SIDE, 3), naming, state, output)
    learned = {name: part for name, part in state["ema"].items() if part}
    return images, x, jax.jit(model.apply)(learned, x)


def as_torch(x):
    return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2).double()


def near(theirs, ours):
    assert (
        np.std(ours.reshape(-1, ours.shape[-1]), axis=0).mean() > 500 * ATOL
    )  # otherwise any would agree
    np.testing.assert_allclose(theirs.detach().numpy(), ours, rtol=1e-5, atol=ATOL)


@pytest.mark.parametrize("model", ["resnet", "vit"])
def test_transformers_loads_classifiers_with_labels_and_preprocessing(tmp_path, data, model):
    models = RESNET if model == "resnet" else ClassifierModels(model="vit", vit=TOKEN)
    images, x, logits = exported(models, data, "", tmp_path / "out")
    network, found = transformers.AutoModelForImageClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert network.config.id2label == dict(enumerate(CLASSES))
    near(network.double().eval()(as_torch(x)).logits, logits)
    processor = json.loads((tmp_path / "out/preprocessor_config.json").read_text())
    scaled = images * processor["rescale_factor"] - processor["image_mean"]
    np.testing.assert_allclose(scaled / processor["image_std"], x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", ["resnet", "vit"])
def test_torchvision_loads_classifiers(tmp_path, data, model):
    models = RESNET if model == "resnet" else ClassifierModels(model="vit", vit=TOKEN)
    if model == "resnet":
        options = ResNetConfig(variant="18", depths=(1, 1, 1, 1))
        models = ClassifierModels(model="resnet", resnet=options)
        networks = pytest.importorskip("torchvision.models.resnet")
        network = networks.ResNet(networks.BasicBlock, [1, 1, 1, 1], len(CLASSES))
    else:
        networks = pytest.importorskip("torchvision.models.vision_transformer")
        network = networks.VisionTransformer(SIDE, 8, 2, 3, 24, 96, num_classes=len(CLASSES))
    _, x, logits = exported(models, data, "torchvision", tmp_path / "out")
    weights = open_weights(tmp_path / "out")
    arrays = {name: torch.tensor(stored.read()) for name, stored in weights.items()}
    network.load_state_dict(arrays, strict=True)
    near(network.double().eval()(as_torch(x)), logits)


@pytest.mark.parametrize("options", [TOKEN, MEAN], ids=["token", "mean"])
def test_timm_loads_vision_transformers(tmp_path, data, options):
    timm = pytest.importorskip("timm")
    naming = "timm" if options is TOKEN else ""
    models = ClassifierModels(model="vit", vit=options)
    _, x, logits = exported(models, data, naming, tmp_path / "out")
    network = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    near(network.double().eval()(as_torch(x)), logits)


def test_what_others_do_not_have_is_refused_with_what_to_use(tmp_path, data):
    def refused(models, naming=""):
        with pytest.raises(InputError) as raised:
            export_classifier(
                models, data, data.normalization(), (SIDE, SIDE, 3), naming, {}, tmp_path / "out"
            )
        return str(raised.value)

    assert "or train --model resnet or efficientnet or vit" in refused(
        ClassifierModels(model="cnn")
    )
    assert "whose stem is 'cifar'" in refused(ClassifierModels(model="resnet"))
    assert "export it as --naming timm" in refused(
        ClassifierModels(model="vit", vit=MEAN), "transformers"
    )
    assert "unknown naming 'torch'" in refused(RESNET, "torch")
    with pytest.raises(InputError, match="square images only"):
        models = ClassifierModels(model="vit", vit=TOKEN)
        export_classifier(
            models, data, data.normalization(), (SIDE, 2 * SIDE, 3), "", {}, tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_transformers_loads_a_language_model_with_its_tokenizer(tmp_path):
    tokenizer = train_bpe(texts_of(tmp_path, "the cat sat on the mat and the dog"), 270)
    models = LanguageModels(model="gpt2", gpt2=GPT2Config(layers=2, width=24, heads=3))
    model = models.create(tokenizer.size, 16)
    (tokens,) = tokenizer.encode(["the cat and the dog"])
    given = jnp.asarray(tokens)[None]
    state = state_of(model, given)
    arguments = models, tokenizer, 16, "next", "", state
    export_language_model(*arguments, tmp_path / "out")
    learned = {"params": state["ema"]["params"]}
    network, found = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs("the cat and the dog").input_ids == tokens.tolist()
    assert theirs.eos_token_id == tokenizer.end and theirs.model_max_length == 16
    logits = network.double()(torch.tensor(tokens)[None].long()).logits
    near(logits, jax.jit(model.apply)(learned, given))
    with pytest.raises(InputError, match="no other library has a gpt2 of masked tokens"):
        export_language_model(*arguments[:3], "masked", "", state, tmp_path / "other")
    with pytest.raises(InputError, match="or train --model gpt2"):
        gpt = LanguageModels(model="gpt")
        export_language_model(gpt, *arguments[1:], tmp_path / "other")
