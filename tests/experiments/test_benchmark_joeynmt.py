"""The files that joeynmt reads, and the scores of what it writes."""

import shutil
from dataclasses import replace

import pytest
import yaml

from experiments.benchmarks.joeynmt import PeerConfig, score, write
from jaxmodels.data.pairs import PairConfig, load_pairs
from jaxmodels.errors import RunError


@pytest.mark.slow
def test_what_is_written_as_tokens_is_scored_as_text(tmp_path, capsys):
    pairs = {
        split: [(f"{split} number {n}", f"the number {n} of {split}") for n in range(count)]
        for split, count in (("train", 40), ("validation", 5), ("test", 6))
    }
    data = load_pairs(PairConfig(tokenizer="chars", length=40), pairs)
    data = replace(data, pair="de-en")
    peer = PeerConfig(part="write", folder=tmp_path)
    write(peer, data)
    source, target = data.pair.split("-")
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        files = [tmp_path / f"{name}.{side}" for side in (source, target)]
        lines = [file.read_text().splitlines() for file in files]
        assert [len(some) for some in lines] == [data.sizes[split]] * 2
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
    words = (tmp_path / "words.txt").read_text().split()
    assert settings["model"]["encoder"]["num_layers"] == 3 and len(words) == data.tokenizer.size
    with pytest.raises(RunError, match=r"written\.dev: no such file"):
        score(peer, data)
    for name in ("dev", "test"):
        shutil.copy(tmp_path / f"{name}.{target}", tmp_path / f"written.{name}")
    score(peer, data)
    assert capsys.readouterr().out.count("exact match 1.0000") == 2
