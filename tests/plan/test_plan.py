"""Plans of real experiments: what they say is what happens."""

import html
import re
import subprocess
import sys

import jax
import pytest

from experiments.classifier import ClassifierConfig, build
from jaxmodels.errors import InputError
from jaxmodels.plan.__main__ import main
from jaxmodels.plan.collectives import Collective
from jaxmodels.plan.compiled import Compiled, compile_step
from jaxmodels.plan.facts import Plan, Tried
from jaxmodels.plan.page import plan_page
from jaxmodels.plan.roofline import roofline_of
from jaxmodels.plan.search import candidates
from jaxmodels.plan.text import text_of
from jaxmodels.plan.topology import hurry, read_topology
from jaxmodels.train import configure
from jaxmodels.train.chips import CHIPS
from jaxmodels.train.identity import command_of
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram

needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


@needs_8
def test_a_plan_says_what_the_arrays_of_a_run_take():
    topology = read_topology("cpu:8")
    flags = {"model": "mlp", "hidden": (256,), "batch_size": 64, "mesh": "data=2,fsdp=4"}
    config = configure(ClassifierConfig(), **flags)
    experiment = build(config)
    compiled = compile_step(experiment, config, topology, jax.devices())
    text = text_of(Plan(compiled, config, topology, "simulated"))
    program = TrainProgram(
        experiment.objective, experiment.train, 64, 1, 0, make_mesh(config.run.mesh)
    )
    live = jax.tree.leaves((program.create(), program.zeros(), program.keys.step))
    data = [*program._arrays.values()]
    here = sum(leaf.addressable_shards[0].data.nbytes for leaf in live[:-1] + data)
    here += 8 + 4 * 64 // 8 + 2 * 4  # the key, the rows of the batch, two counters
    assert compiled.argument_bytes == here
    state = jax.tree.leaves(program.create())
    assert compiled.state_bytes == sum(s.addressable_shards[0].data.nbytes for s in state)
    # Forward, and two products backward, but none in the pixels.
    inputs = 8 * 8
    products = 64 * (inputs * 256 * 2 + 256 * 10 * 3) * 2
    assert compiled.operations == pytest.approx(products, rel=0.1)
    assert {c.kind for c in compiled.collectives} >= {"all-gather", "all-reduce"}
    for part in ("all-gather         over fsdp", "parameters", "peak"):
        assert part in text
    assert f"state      {compiled.state_bytes / 1024:.4g} KiB" in text


def _compiled(**changes):
    numbers = dict.fromkeys(Compiled.__dataclass_fields__, 0)
    gather = Collective("all-gather", "fsdp", 4, 2, 8_000_000)
    given = {
        "mesh": {"data": 1, "fsdp": 4, "model": 1},
        "operations": 4 * 197_000_000_000,
        "needed": 4 * 98_500_000_000,
        "argument_bytes": 810_000_000,
        "collectives": [gather],
    }
    return Compiled(**numbers | given | changes)


def test_the_roofline_divides_by_what_a_chip_can_do():
    roofline = roofline_of(_compiled(), CHIPS["v5e"])
    compute, memory, gather = (bound.seconds for bound in roofline.bounds)
    assert compute == pytest.approx(1e-3)
    assert memory == pytest.approx(1e-3)
    assert gather == pytest.approx(6_000_000 / 9e10)
    assert roofline.fastest == pytest.approx(1e-3)
    assert roofline.slowest == pytest.approx(1e-3 + gather)
    # What is computed takes the time; what is needed counts.
    assert roofline.mfu == pytest.approx((0.5e-3 / roofline.slowest, 0.5))
    # Groups of more chips than a host has go over its network.
    wide = _compiled(collectives=[Collective("all-reduce", "data", 16, 1, 8_000_000)])
    bound = roofline_of(wide, CHIPS["h100"]).bounds[-1]
    assert (bound.amount, bound.rate) == (15_000_000, CHIPS["h100"].slow_bandwidth)


def test_a_plan_says_how_fast_and_how_long():
    compiled = _compiled(batch_size=64, tokens=64 * 128, collectives=[])
    config = configure(ClassifierConfig(), model="mlp", batch_size=64, steps=36_000_000)
    made = Plan(compiled, config, read_topology("v5e:2x2"), "compiled by libtpu")
    *_, mfu, examples, tokens, whole = text_of(made).splitlines()
    counts = "(causal attention half, nothing that is computed again)"
    assert mfu == f"MFU 50.0% to 50.0% of the chip's peak {counts}"
    assert examples == "examples a second 64,000 to 64,000"
    assert tokens == "tokens a second 8,192,000 to 8,192,000"
    # A millisecond each, on four devices.
    hours = "10.00 h (0.417 days), 40 device-hours at most, without evaluations"
    assert whole == f"36,000,000 steps: {hours}"
    of_images = made._replace(compiled=_compiled(batch_size=64, collectives=[]))
    assert "tokens" not in text_of(of_images)
    longer = made._replace(config=configure(config, steps=360_000_000))
    assert "steps: 4.17 days, 400 device-hours at most" in text_of(longer)


def test_a_page_has_the_facts_of_the_text_and_loads_nothing():
    tried = (Tried("--mesh fsdp=4 <b>", "1 GiB", "1 ms"), Tried("--mesh fsdp=2", "", "too few"))
    wide = Collective("all-reduce", "data", 512, 3, 8_000_000)
    compiled = _compiled(
        parameters=123_456,
        peak_bytes=17_000_000_000,
        batch_size=64,
        tokens=64 * 128,
        seconds=2.0,
        collectives=[wide],
    )
    config = configure(ClassifierConfig(), model="mlp", batch_size=64)
    made = Plan(compiled, config, read_topology("v5e:2x2"), "compiled by libtpu", tried)
    page, text = plan_page(made), text_of(made)
    said = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"(?s)<(script|style).*?</\1>", "", page)))
    for line in text.splitlines():
        for number in re.findall(r"\d[\d,.e+]*\d", line):
            assert number in said, (number, line)
    for part in (
        "IT DOES NOT FIT",
        "all-reduce over data",
        "the network",
        "--mesh fsdp=2nonetoo few",
    ):
        assert part in said, part
    assert "<b>" not in page and "it does not fit" in page
    assert "default-src 'none'" in html.unescape(page) and "http" not in said
    assert command_of(config) in said
    on_cpu = plan_page(made._replace(topology=read_topology("cpu:4"), tried=()))
    assert "No promise is made of a CPU." in on_cpu and "Search" not in on_cpu


@pytest.mark.parametrize("text", ["v5e", "v5e:4x", "k80:8", "cpu:0"])
def test_topologies_of_other_forms_are_refused(text, capsys):
    with pytest.raises(InputError, match="topology = "):
        read_topology(text)
    assert main(["classifier"]) == 2
    assert "expected --topology KIND:SHAPE" in capsys.readouterr().err


def test_what_has_no_compiler_that_can_hurry_is_refused():
    with pytest.raises(InputError, match="quick with topology = h100:8; expected a TPU and libtpu"):
        hurry(read_topology("h100:8"))


def test_topologies_have_their_chips():
    assert read_topology("v5e:4x4").count == 16
    assert read_topology("h100:8").chip == CHIPS["h100"]
    assert read_topology("cpu:8").chip is None


def test_the_search_tries_the_cheapest_first():
    found = list(candidates(ClassifierConfig(), 4))
    cheapest = {"mesh": "data=4,fsdp=1,model=1", "remat": "none", "accumulate": 1}
    assert found[0] == cheapest
    assert {flags["mesh"] for flags in found} >= {"data=1,fsdp=4,model=1", "data=2,fsdp=1,model=2"}


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--mesh", "fsdp=4"], ["--search"]])
def test_the_command_plans_for_devices_that_are_not_there(more, tmp_path):
    page = tmp_path / "plan.html"
    more = [*more, "--page", str(page)]
    words = ["classifier", "--model", "mlp", "--hidden", "8", "--topology", "h100:4", *more]
    done = subprocess.run(
        [sys.executable, "-m", "jaxmodels.plan", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "on h100:4 (4 devices), mesh " in done.stdout
    assert "it fits" in done.stdout and "device-hours" in done.stdout
    assert "it fits" in page.read_text()
    if "--search" in more:
        assert done.stdout.startswith("found: python -m experiments.classifier")
        assert "--mesh data=1,fsdp=4,model=1" in done.stderr
