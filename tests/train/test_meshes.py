"""Meshes that divide the state give what one device gives, and each device holds its part."""

import math
import re
from collections import Counter
from dataclasses import replace
from functools import cache, partial

import jax
import numpy as np
import pytest

from jaxmodels.data import Resident
from jaxmodels.errors import InputError
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.models.language_models import LanguageModels
from jaxmodels.models.options import with_options
from jaxmodels.models.pointer_generator import pointer_generator
from jaxmodels.models.text_to_text_models import TextToTextModels
from jaxmodels.objectives.language_model import LanguageModel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.sequence_to_sequence import PADDING, SequenceToSequence
from jaxmodels.protocol import MODEL_AXIS, Sharding, ShardingRule
from jaxmodels.train.checkpoint import Checkpoints, Facts
from jaxmodels.train.evaluation import Sampler, SplitProgram, map_examples
from jaxmodels.train.layout import make_mesh, part_of_host
from jaxmodels.train.outputs import on_one_device
from jaxmodels.train.program import TrainProgram
from jaxmodels.train.sharding import StateLayout, rule_of
from tests.marks import MESHES, campaign, slow

needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")
KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
WORDS, LENGTH, BATCH, STEPS = 48, 8, 8, 2
SIZES = {"layers": 1, "width": 64}
# SGD: Adam would amplify the noise of gradients that are zero in truth.
SGD = OptimizerConfig(optimizer="momentum", learning_rate=0.1, schedule="constant")


@pytest.fixture(autouse=True)
def _small_arrays_are_divided(monkeypatch):
    monkeypatch.setattr("jaxmodels.train.sharding.LEAST_DIVIDED", 1 << 11)


def _objective(model="gpt2", heads=4, **options):
    if model in PAIRED:
        return _paired(model, heads, **options)
    sizes = SIZES | {"heads": heads}
    if model == "gpt":
        sizes = {"depth": 1, "width": 64, "head_size": 64 // heads}
    chosen = replace(with_options(LanguageModels(model=model), **sizes), **options)
    return LanguageModel(chosen.create(WORDS, LENGTH), SGD, STEPS)


# Models of an encoder and a decoder, with the options of a case.
PAIRED = {
    "transformer": {"encoder_layers": 1, "decoder_layers": 1, "width": 64, "hidden": 128},
    "marian": {"layers": 1, "decoder_layers": 1, "width": 64, "hidden": 128},
    "t5": {"layers": 1, "decoder_layers": 1, "width": 64, "head_size": 16, "hidden": 128},
}


def _paired(model, heads, **options):
    sizes = PAIRED[model] | {"heads": heads}
    if model == "transformer":
        sizes["positions"] = "relative"
    chosen = with_options(TextToTextModels(model=model), **sizes)
    made = replace(chosen, **options).create(WORDS, (LENGTH, LENGTH + 1))
    return SequenceToSequence(made, SGD, STEPS, start=0, end=1, most=3)


def _source(count=3 * BATCH, paired=False):
    if paired:
        draw = np.random.default_rng(0).integers
        columns = {"source": (LENGTH,), "target": (LENGTH + 1,)}
        tokens = {name: draw(2, WORDS, (count, *shape)) for name, shape in columns.items()}
        tokens["source"][:, 5:] = tokens["target"][:, 6:] = PADDING
        return Resident({name: column.astype(np.int32) for name, column in tokens.items()})
    tokens = np.random.default_rng(0).integers(0, WORDS, (count, LENGTH + 1))
    return Resident({"tokens": tokens.astype(np.int32)})


def _program(mesh, objective=None, **how):
    objective = objective or _objective()
    how = {"sharding": objective.model.sharding, **how}
    source = _source(paired=isinstance(objective, SequenceToSequence))
    return TrainProgram(objective, source, BATCH, STEPS, 1, make_mesh(mesh), **how)


@cache
def _trained(mesh, model="gpt2", remat="none", scan_layers="off", heads=4):
    objective = _objective(model, heads, scan_layers=scan_layers)
    program = _program(mesh, objective, remat=remat)
    state, window = program.advance(program.create(), program.zeros(), 0, STEPS)
    source = _source(5, model in PAIRED)
    split = SplitProgram(source, 8, program.keys.evaluate, make_mesh(mesh), program.layout)
    sums = split.sum(objective.evaluate, state)
    if model in PAIRED:  # what is written, and how likely it is
        return program, state, window, sums, split.map(objective.translate, state)
    nats = split.map(objective.predict, state)["nats"]
    return program, state, window, sums, nats


@needs_8
@pytest.mark.parametrize(
    ("mesh", "model", "remat", "scan_layers"),
    [
        ("data=2,fsdp=2,model=2", "gpt2", "none", "off"),
        slow("fsdp=8", "gpt2", "full", "on"),
        slow("model=4,data=2", "gpt2", "none", "off"),
        slow("fsdp=4,model=2", "gpt", "block", "off"),
        slow("fsdp=2,model=2,data=2", "llama", "none", "off"),
        slow("data=2,fsdp=2,model=2", "transformer", "none", "off"),
        slow("fsdp=2,model=4", "t5", "block", "off"),
        campaign("fsdp=8", "marian", "full", "on"),
    ],
)
def test_every_mesh_gives_what_one_device_gives(mesh, model, remat, scan_layers):
    """And so do evaluations of the result."""
    one, other = _trained("data=1", model), _trained(mesh, model, remat, scan_layers)
    for a, b in zip(*map(jax.tree.leaves, (one[1:], other[1:])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@needs_8
@pytest.mark.campaign
@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("model", ["gpt2", "transformer"])
def test_every_mesh_of_eight_devices_trains_as_one_device(model, mesh):
    one, other = (_trained(name, model, heads=8)[1:4] for name in ("data=1", mesh))
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@needs_8
def test_each_device_holds_its_part_of_parameters_and_moments():
    """Kernels of attention and MLP and the table of words are divided by fsdp * model."""
    whole, parts = (_trained(mesh)[1] for mesh in ("data=1", "data=2,fsdp=2,model=2"))
    for part in ("params", "optimizer"):
        for (path, leaf), other in zip(
            jax.tree_util.tree_leaves_with_path(parts[part]), jax.tree.leaves(whole[part])
        ):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            here = leaf.addressable_shards[0].data
            divided = 1
            if ("block" in name and "kernel" in name) or "token_embedding" in name:
                divided = 4
            elif re.search(r"(query|key|value|linear1)/bias", name):
                divided = 2
            assert here.size * divided == leaf.size == other.size, name


@needs_8
@pytest.mark.parametrize("model", PAIRED)
def test_every_kernel_of_an_encoder_and_a_decoder_is_divided(model):
    """Over fsdp and model, with its moments; so is the table of words."""
    objective = _objective(model)
    how = {"spec": {}, "hyperparameters": objective.hyperparameters}
    state = jax.eval_shape(partial(objective.init, **how), jax.random.key(0))
    layout = _layout("data=2,fsdp=2,model=2", objective.model.sharding)
    places = jax.tree_util.tree_leaves_with_path(layout.shardings(state))
    kinds = Counter()
    for (path, place), leaf in zip(places, jax.tree.leaves(state), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        parts = math.prod(leaf.shape) // math.prod(place.shard_shape(leaf.shape))
        if ("_block_" in name and "kernel" in name) or name.endswith("/embedding/embedding"):
            assert parts == 4, name
            kinds["by both"] += 1
        elif name.endswith("relative/embedding") or re.search(r"(query|linear1)/bias", name):
            assert parts == 2, name
            kinds["by heads"] += 1
    assert kinds["by both"] == 2 * (6 + 10 + 1) and kinds["by heads"]


@needs_8
def test_the_head_of_a_pointer_generator_is_whole():
    sizes = EncoderDecoderConfig(width=64, heads=4, encoder_layers=1, decoder_layers=1)
    model = pointer_generator(sizes, WORDS, (LENGTH, LENGTH))
    tokens = jax.ShapeDtypeStruct((1, 4), np.int32)
    valid = jax.ShapeDtypeStruct((1, 4), np.bool_)
    shapes = jax.eval_shape(
        lambda key, tokens, valid: model.init(key, tokens, tokens, valid=valid),
        jax.random.key(0),
        tokens,
        valid,
    )["params"]
    places = _layout("data=2,fsdp=2,model=2", model.sharding).shardings({"params": shapes})
    whole = places["params"]["gate"]["kernel"].spec, places["params"]["embedding"]["embedding"].spec
    assert "model" not in str(whole)
    assert "model" in str(places["params"]["decoder_block_0"]["cross_out"]["kernel"].spec)


@needs_8
@pytest.mark.slow
@pytest.mark.parametrize("model", ["transformer", "t5"])
def test_an_encoder_and_a_decoder_gather_their_parameters_and_no_activation(model):
    program = _program("data=2,fsdp=2,model=2", _objective(model))
    found, largest = _collectives(program.text())
    divided = [
        leaf
        for leaf in jax.tree.leaves(program.like["state"]["params"])
        if "fsdp" in str(leaf.sharding.spec)
    ]
    assert len(divided) == 17
    assert largest["all-gather"] <= max(leaf.size for leaf in divided)
    assert not found["all-to-all"] and found["all-reduce"]


def _collectives(text):
    """Counts the collectives of a program by kind, with the numbers that the largest gives."""
    found, largest = Counter(), Counter()
    for shapes, kind in re.findall(rf"= (\S.*?) ({KINDS})(?:-start)?\(", text):
        found[kind] += 1
        sizes = re.findall(r"\[([\d,]*)\]", shapes)
        numbers = [math.prod(map(int, filter(None, size.split(",")))) for size in sizes]
        largest[kind] = max(largest[kind], *numbers)
    return found, largest


@needs_8
def test_a_step_gathers_the_divided_parameters_and_no_activation():
    program, state, *_ = _trained("data=2,fsdp=2,model=2")
    found, largest = _collectives(program.text())
    divided = [
        leaf for leaf in jax.tree.leaves(state["params"]) if "fsdp" in str(leaf.sharding.spec)
    ]
    assert found["all-gather"] == len(divided) == 7
    assert largest["all-gather"] <= max(leaf.size for leaf in divided)
    assert not found["all-to-all"]
    # Only the gradient of the table, whose parts are in another order, goes to its place.
    assert largest["collective-permute"] <= WORDS * SIZES["width"]
    assert found["all-reduce"]


@needs_8
@pytest.mark.slow
def test_muon_gathers_no_parts_of_matrices_in_its_iterations():
    """It gives what one device gives, and more iterations cost no collective."""
    how = {"optimizer": "muon_jordan", "muon_precision": "float32", "schedule": "constant"}
    states, counts = [], []
    for mesh, iterations in [("data=1", 2), ("data=2,fsdp=2,model=2", 2), ("fsdp=8", 2)]:
        rule = OptimizerConfig(learning_rate=0.02, muon_steps=iterations, **how)
        objective = replace(_objective(), optimizer=rule)
        program = _program(mesh, objective)
        states.append(program.advance(program.create(), program.zeros(), 0, STEPS)[0]["params"])
        counts.append(_collectives(program.text())[0])
    for other in states[1:]:
        for a, b in zip(*map(jax.tree.leaves, (states[0], other)), strict=True):
            if (
                a.ndim > 1
            ):  # the gradient of a key's bias is noise around zero, which Adam amplifies
                np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-4)
    rule = OptimizerConfig(learning_rate=0.02, muon_steps=4, **how)
    more = _program("fsdp=8", replace(_objective(), optimizer=rule))
    assert _collectives(more.text())[0] == counts[-1]


@needs_8
@pytest.mark.slow
def test_a_mesh_of_data_alone_only_adds():
    assert set(_collectives(_program("data=8").text())[0]) == {"all-reduce"}


@needs_8
def test_a_checkpoint_is_restored_onto_another_mesh(tmp_path):
    _, state, window, _, nats = _trained("data=2,fsdp=2,model=2")
    written = Checkpoints(tmp_path, write=True)
    written.save(STEPS, {"state": state, "window": window}, Facts(0, ""))
    written.close()
    other = _program("fsdp=4")
    tree = Checkpoints(tmp_path).restore(STEPS, other.like).tree
    for a, b in zip(jax.tree.leaves(tree["state"]), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
    table = tree["state"]["params"]["token_embedding"]["embedding"]
    assert table.addressable_shards[0].data.size * 4 == table.size
    # What predicts and draws takes the state from any mesh to one device.
    objective, columns = _objective(), dict(_source(5).arrays)
    alone = map_examples(objective.predict, on_one_device(tree["state"]), columns)
    np.testing.assert_allclose(alone["nats"], nats, rtol=1e-4)
    drawn = Sampler(lambda state, key, count: state["step"] + np.arange(count))(
        tree["state"], jax.random.key(0), 3
    )
    np.testing.assert_array_equal(drawn, STEPS + np.arange(3))


@needs_8
@pytest.mark.slow
def test_weights_to_start_from_go_to_their_places():
    program = _program("fsdp=4,model=2")
    kernel = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    state = program.create({"params/block_0/query/kernel": kernel})
    found = state["params"]["block_0"]["query"]["kernel"]
    np.testing.assert_array_equal(found, kernel)
    assert found.addressable_shards[0].data.size * 8 == kernel.size
    assert not np.array_equal(state["params"]["block_0"]["key"]["kernel"], kernel)


def _layout(axes="data=1,fsdp=2,model=4", sharding=Sharding(), more=()):  # noqa: B008
    return StateLayout(make_mesh(axes), sharding, more)


@needs_8
def test_the_largest_axis_that_divides_is_divided_by_size():
    layout = _layout("fsdp=8")
    assert tuple(layout.spec("params/a/kernel", (3, 3, 64, 48))) == (None, None, "fsdp", None)
    assert tuple(layout.spec("params/a/kernel", (81, 64))) == (None, "fsdp")
    assert tuple(layout.spec("params/a/kernel", (81, 33))) == (None, None)
    assert tuple(layout.spec("params/a/bias", (64,))) == (None,)


@needs_8
def test_on_a_mesh_of_data_alone_no_rule_holds_and_every_device_has_all():
    rules = Sharding((ShardingRule("kernel$", (None, MODEL_AXIS)),))
    layout = _layout("data=8", sharding=rules)
    kernel = np.ones((64, 48), np.float32)
    [put] = layout.put({"params/a/kernel": kernel}).values()
    assert put.sharding.is_fully_replicated and np.array_equal(put, kernel)
    [sharding] = layout.shardings({"kernel": kernel}).values()
    assert sharding.is_fully_replicated


@needs_8
def test_rules_come_first_and_those_of_the_command_line_before_the_models():
    rules = Sharding((ShardingRule("kernel$", (None, MODEL_AXIS)),))
    layout = _layout(sharding=rules)
    assert tuple(layout.spec("params/a/kernel", (64, 48))) == ("fsdp", "model")
    assert tuple(layout.spec_in_use("params/a/kernel", (64, 48))) == (None, "model")
    layout = _layout(sharding=rules, more=("a/kernel=-,-", "b/kernel=fsdp+model,-"))
    assert tuple(layout.spec("params/a/kernel", (64, 48))) == (None, None)
    assert tuple(layout.spec("params/b/kernel", (64, 48))) == (("fsdp", "model"), None)
    with pytest.raises(InputError, match=r"shard = a/kernel; expected a pattern of a path, as of"):
        layout.shardings({"params": {"c": np.zeros((64, 64))}})


@needs_8
def test_an_optional_rule_is_for_sizes_that_the_mesh_divides():
    rule = ShardingRule("table$", (MODEL_AXIS, None), optional=True)
    layout = _layout(sharding=Sharding((rule,)))
    assert tuple(layout.spec("params/table", (48, 64))) == ("model", "fsdp")
    assert tuple(layout.spec("params/table", (50, 64))) == (None, "fsdp")


@pytest.mark.parametrize("text", ["kernel", "kernel=heads", "(=fsdp", "=fsdp"])
def test_rules_of_other_forms_are_refused(text):
    with pytest.raises(InputError, match="shard = "):
        rule_of(text)


@needs_8
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"mesh": "fsdp=3"}, "batch_size = 8; expected a multiple of the 3 devices.*as 6"),
        ({"mesh": "model=3"}, r"model = 3, which does not divide .*block_0.*of 64: 2 or 4"),
        ({"mesh": "model=8"}, "model = 8; expected a divisor of the 4 heads: 4"),
        ({"mesh": "fsdp=4", "parallel": "pmap"}, "parallel = pmap, mesh = data=1,fsdp=4,model=1"),
        ({"mesh": "data=2,heads=2"}, "expected data=N, as data=8, or with fsdp=N and model=N too"),
        ({"mesh": "data=4,fsdp=4"}, "expected at most the 8 devices here"),
        ({"mesh": "data=4", "shard": ("a=fsdp",)}, "expected a mesh with fsdp or model"),
    ],
)
def test_what_a_mesh_does_not_divide_is_refused_with_numbers(how, message):
    with pytest.raises(InputError, match=message):
        _program(**how)


@needs_8
def test_a_single_process_has_every_part_of_a_batch():
    assert part_of_host(make_mesh("data=2,fsdp=2,model=2")) == (0, 1)
