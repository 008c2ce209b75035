"""The peers of experiments.benchmarks.decoding write the same text."""

import pytest

from experiments.benchmarks import decoding
from experiments.benchmarks import decoding_peers as peers
from experiments.benchmarks.alternate import Timing
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytest.importorskip("transformers")
pytestmark = pytest.mark.parity


@pytest.mark.parametrize("task", ["tiny-gpt2", "tiny-llama"])
def test_peers_write_the_same_text(task):
    texts = []
    for peer in decoding.PEERS:
        getattr(peers, peer)(task)(1)
        texts.append(peers.FACTS["text"])
    assert len(texts[0]) == peers.TASKS[task].count
    assert len(set(texts[0])) > 1
    assert texts[0] == texts[1] == texts[2]


def test_the_table_says_who_is_faster_and_what_a_floor_is():
    assert peers.weight_bytes(peers.TASKS["smollm2-135m"]) == 4 * 134_515_008
    ours = Timing("ours", (0.06, 0.12, 0.18), 2, facts={"text": [1]})
    theirs = Timing("torch_eager", (0.3,), 1, facts={"text": [2]})
    lines = decoding.table("tiny-llama", [ours, theirs], pace=1e6).splitlines()
    needed = peers.weight_bytes(peers.TASKS["tiny-llama"])
    assert lines[3].split()[1:] == [
        "50.0",
        "20.00",
        "10.00",
        "30.00",
        "2",
        f"{0.02 / (needed / 1e6):,.2f}x",
    ]
    assert "2.50x" in lines[4] and lines[4].endswith("writes another text")
