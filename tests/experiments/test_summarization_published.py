"""Marian and T5 of transformers summarize as theirs do, learn the same, and leave as they came."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.summarization import SummarizationConfig, build
from jaxmodels.data.documents import load_documents
from jaxmodels.data.text.tokenizers import load_tokenizer
from jaxmodels.objectives.sequence_to_sequence import PADDING
from jaxmodels.pretrained import load, open_weights
from jaxmodels.train import main
from tests.data.text.test_sentencepieces import ENGLISH, FRENCH, marian_folder, t5_folder
from tests.experiments.test_summarization import flags_of
from tests.marks import campaign
from tests.pretrained.theirs import weights_of
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.parity, pytest.mark.slow]
PREFIX = "A dog. "
SEARCH = {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0}
SEARCH |= {"no_repeat_ngram_size": 2, "min_length": 6, "max_length": 14}
DOCUMENTS = [" ".join(ENGLISH), ENGLISH[1], ENGLISH[2] + " " + ENGLISH[0]]


def t5_of(tokens):
    params = {"summarization": {**SEARCH, "prefix": PREFIX}}
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 1}
    config = transformers.T5Config(**tokens, **sizes, task_specific_params=params)
    return transformers.T5ForConditionalGeneration(config)


def marian_of(tokens):
    sides = ("encoder", "decoder")
    sizes = {f"{side}_{name}": n for side in sides for name, n in (("layers", 1), ("ffn_dim", 24))}
    sizes |= {f"{side}_attention_heads": 2 for side in sides}
    config = transformers.MarianConfig(
        **tokens,
        **sizes,
        d_model=16,
        max_position_embeddings=128,
        scale_embedding=True,
        activation_function="swish",
        forced_eos_token_id=None,
    )
    return transformers.MarianMTModel(config)


MODELS = {"t5": (t5_of, t5_folder), "marian": (marian_of, marian_folder)}


@pytest.fixture(params=["t5", campaign("marian")])
def theirs(request, tmp_path):
    """A folder that transformers wrote, with the files of a tokenizer, and its network."""
    create, tokenizer_of = MODELS[request.param]
    folder = tmp_path / "theirs"
    folder.mkdir()
    tokenizer = load_tokenizer(tokenizer_of(folder))
    tokens = {"pad_token_id": tokenizer.padding, "decoder_start_token_id": tokenizer.padding}
    torch.manual_seed(5)
    network = create({**tokens, "vocab_size": tokenizer.size, "eos_token_id": tokenizer.end}).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
        # So that texts may end, and those that end early are others than the likeliest.
        network.get_output_embeddings().weight[tokenizer.end] *= 3
    if request.param == "marian":  # T5 says it of the task
        network.generation_config.update(**SEARCH)
    network.save_pretrained(folder)
    return folder, network


def run(made=build, **flags):
    return main(SummarizationConfig, made, {}, flags_of({"mesh": "data=1", **flags}))


class Observed:
    """Builds an experiment that writes tokens instead of texts, and keeps what it is made of."""

    def __call__(self, config, data=None):
        self.data = load_documents(config.data, data, config.model.rows)
        self.experiment = build(config, self.data)
        prediction = self.experiment.prediction._replace(write=self.write)
        return self.experiment._replace(prediction=prediction)

    @staticmethod
    def write(outputs):
        return {"tokens": outputs["tokens"][: outputs["length"]].tolist()}


@pytest.fixture
def data(tmp_path):
    """A file of documents with summaries."""
    pairs = zip(DOCUMENTS, FRENCH)
    lines = [json.dumps({"document": document, "summary": own}) for document, own in pairs]
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return {"data": file, "validation_fraction": 0, "test_fraction": 0}


@pytest.mark.parametrize("beams", [1, 3])
def test_summaries_are_those_of_their_generate(theirs, beams, data, tmp_path):
    folder, network = theirs
    text, lines, seen = tmp_path / "new.txt", tmp_path / "new.jsonl", Observed()
    text.write_text("\n".join(DOCUMENTS))
    flags = {"init_from": folder, "mode": "predict", "input": text, "output": lines, **data}
    flags |= {"workdir": tmp_path / "run", "beams": beams}
    assert run(seen, **flags) == 0
    found = [json.loads(line)["tokens"] for line in lines.read_text().splitlines()]
    rows = seen.data.rows
    source = rows.columns(DOCUMENTS, DOCUMENTS)["source"].astype(np.int64)
    source = source[:, : (source != PADDING).sum(axis=1).max()]
    valid = torch.tensor(source != PADDING)
    out = network.generate(
        torch.tensor(np.where(source == PADDING, rows.pairs.start, source)),
        attention_mask=valid.long(),
        do_sample=False,
        **{**SEARCH, "num_beams": beams},
        # Their padding is never written here.
        suppress_tokens=[rows.pairs.start],
    )
    # T5 is told its task.
    told = PREFIX if network.config.model_type == "t5" else ""
    [tokens] = rows.tokenizer.encode([told + DOCUMENTS[1]])
    assert source[1][: len(tokens)].tolist() == tokens.tolist()
    for ours, expected in zip(found, out[:, 1:].tolist(), strict=True):
        assert ours == expected[: len(ours)]
        assert set(expected[len(ours) :]) <= {rows.pairs.start}


def test_the_loss_and_its_gradient_are_theirs_and_what_is_learned_summarizes(
    theirs, data, tmp_path
):
    folder, network = theirs
    seen, workdir = Observed(), tmp_path / "run"
    steps = {"steps": 2, "eval_every": 2, "batch_size": 3, "workdir": workdir}
    flags = {"init_from": folder, **data, **steps, "summary_length": 12}
    assert run(seen, **flags) == 0
    summarizer = seen.experiment.objective.step.__self__
    weights, columns = open_weights(folder), seen.experiment.train.examples(np.arange(3))
    batch = {name: jnp.asarray(column) for name, column in columns.items()}
    tokens = jnp.zeros((1, 1), jnp.int32)
    shapes = jax.eval_shape(summarizer.model.init, jax.random.key(0), tokens, tokens)
    params = load(weights, seen.experiment.published(weights), shapes)["params"]

    hyperparameters = jax.tree.map(jnp.float32, dict(summarizer.hyperparameters))

    def loss(params):
        total, _, _ = summarizer.loss(hyperparameters, params, {}, batch, jax.random.key(0))
        return total.total / total.count

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    source, target = (torch.tensor(columns[name]).long() for name in ("source", "target"))
    start = summarizer.start
    out = network(
        torch.where(source == PADDING, start, source),
        attention_mask=(source != PADDING).long(),
        decoder_input_ids=torch.where(target == PADDING, start, target)[:, :-1],
    )
    wanted = target[:, 1:].flatten()
    expected = torch.nn.functional.cross_entropy(
        out.logits.flatten(0, 1), wanted, ignore_index=PADDING
    )
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    gradients = weights_of(network, lambda tensor: tensor if tensor.grad is None else tensor.grad)
    gradients = load(gradients, seen.experiment.published(gradients), shapes)["params"]
    if network.config.model_type == "marian":
        # Torch learns neither the bias of words nor the embedding of padding.
        for tree in (gradient, gradients):
            tree["head_bias"] = {}
            table = tree["embedding"]["embedding"]
            tree["embedding"]["embedding"] = np.delete(table, start, axis=0)
    # The largest of all: that of a key's bias is zero but for rounding.
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients))
    for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * largest)

    # The run goes on without the weights.
    folder.rename(tmp_path / "gone")
    text, lines = tmp_path / "new.txt", tmp_path / "new.jsonl"
    text.write_text("\n".join(DOCUMENTS))
    assert run(workdir=workdir, mode="predict", input=text, output=lines) == 0
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [one["input"] for one in found] == DOCUMENTS
    assert all(isinstance(one["output"], str) for one in found)


def test_files_leave_as_they_came_and_transformers_reads_them(theirs, data, tmp_path):
    folder, network = theirs
    out = tmp_path / "out"
    flags = {"init_from": folder, "workdir": tmp_path / "run", **data}
    assert run(**flags, mode="export", format="safetensors", output=out) == 0
    file = "model.safetensors"
    assert (out / file).read_bytes() == (folder / file).read_bytes()
    assert load_tokenizer(out).fingerprint == load_tokenizer(folder).fingerprint
    again = type(network).from_pretrained(out)
    given = torch.tensor([[3, 4, 1]])
    with torch.no_grad():
        ours, logits = (net(given, decoder_input_ids=given).logits for net in (again, network))
    assert torch.equal(ours, logits)
