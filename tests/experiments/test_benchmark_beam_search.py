"""The peers of experiments.benchmarks.beam_search write the same texts."""

import pytest

from experiments.benchmarks import beam_peers as peers
from experiments.benchmarks import beam_search
from experiments.benchmarks.alternate import Timing
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytest.importorskip("transformers")
pytestmark = pytest.mark.parity


def test_peers_write_the_same_texts():
    texts = []
    for peer in beam_search.PEERS:
        getattr(peers, peer)("trial")(1)
        texts.append(peers.FACTS["texts"])
    assert [len(text) for text in texts[0]] == [peers.TASKS["trial"].written + 1] * 3
    assert len(set(texts[0][0])) >= 2
    assert texts[0] == texts[1]


def test_the_table_says_who_is_faster():
    ours = Timing("ours", (0.06, 0.12, 0.18), 2, facts={"texts": [1]})
    theirs = Timing("transformers_generate", (0.3,), 1, facts={"texts": [2]})
    lines = beam_search.table("trial", [ours, theirs]).splitlines()
    assert lines[3].split()[1:] == ["25.0", "120.0", "60.0", "180.0", "2"]
    assert "2.50x" in lines[4] and lines[4].endswith("writes others")
