"""Whisper through the script, from weights that transformers writes to those that it reads; and the
benchmark beside PyTorch."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from experiments.benchmarks import speech_recognition_peers as peers
from experiments.exports.whisper import front_end_of
from jaxmodels.data.audio.sound_data import samples_at
from jaxmodels.models.whisper import WhisperConfig
from tests.experiments.test_sentiment import summary
from tests.experiments.test_speech_recognition import recordings, run, write
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity


def test_whisper_is_used_as_it_is_and_learns_on(tmp_path, capsys, monkeypatch):
    folder = toy_whisper(tmp_path / "whisper")
    data = tmp_path / "data"
    write(data / "train", recordings(6))
    write(data / "test", recordings(3, seed=1))
    output = tmp_path / "new.jsonl"
    flags = {"init_from": folder, "data": data, "validation_fraction": 0, "most_tokens": 6}
    flags |= {"batch_size": 6, "eval_batch_size": 3, "mesh": "data=1"}
    predict = {"mode": "predict", "input": data / "test", "output": output}
    assert run(**flags, **predict, workdir=tmp_path / "none") == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) == 3 and all(isinstance(line["text"], str) for line in lines)
    assert run(**flags, mode="evaluate", workdir=tmp_path / "none") == 0
    before = summary(capsys.readouterr().out)
    assert float(before["test/wer"]) > 0.5
    # It learns from a second, 50 places of its 60.
    flags |= {"steps": 4, "eval_every": 4, "learning_rate": 1e-3, "heard": 50}
    assert run(**flags, workdir=tmp_path / "run") == 0
    after = summary(capsys.readouterr().out)
    assert float(after["test/loss"]) < float(before["test/loss"])
    out = tmp_path / "out"
    assert run(workdir=tmp_path / "run", mode="export", output=out) == 0
    assert run(**{**predict, "output": output}, workdir=tmp_path / "run") == 0
    lines = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert all(lines) and lines == written_by_transformers(out, data / "test", 6)
    # The tokenizer is kept in a cache; with another one, it is the same run.
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))
    assert run(**flags, workdir=tmp_path / "run") == 0
    assert "is finished" in capsys.readouterr().out


def written_by_transformers(folder, sounds, most):
    """The texts that transformers writes of a folder of sounds, by what is beside the weights."""
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    front_end = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert model.config.max_source_positions == 50 and front_end.chunk_length == 1
    rows = [np.float32(samples / 32768) for _, samples in samples_at(sounds, 16_000)]
    features = front_end(rows, sampling_rate=16_000, return_tensors="pt").input_features
    tokens = model.generate(input_features=features, max_new_tokens=most, do_sample=False)
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in tokens.tolist()]


def test_a_front_end_of_no_whole_seconds_says_how_it_is_called(capsys):
    values = front_end_of(WhisperConfig(heard=360))
    assert "unless it is called with max_length=115200" in capsys.readouterr().err
    front_end = transformers.WhisperFeatureExtractor(**values)
    given = {"sampling_rate": 16_000, "max_length": 115_200, "return_tensors": "np"}
    assert front_end(np.zeros(9000, np.float32), **given).input_features.shape == (1, 80, 720)
    assert front_end_of(WhisperConfig())["chunk_length"] == 30 and not capsys.readouterr().err


def toy_whisper(folder):
    """A tiny Whisper that transformers writes, with a tokenizer of characters."""
    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens(special)
    end, start = tokenizer.token_to_id(special[0]), tokenizer.token_to_id(special[1])
    sizes = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    sizes |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64)
    sizes |= dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
    config = transformers.WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=16,
        num_mel_bins=8,
        max_source_positions=60,
        max_target_positions=32,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=[5],
        begin_suppress_tokens=[6],
        **sizes,
    )
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    # Older files have these in config.json; newer ones beside it.
    content = json.loads((folder / "config.json").read_text())
    content |= {"suppress_tokens": [5], "begin_suppress_tokens": [6]}
    (folder / "config.json").write_text(json.dumps(content))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_the_benchmark_trains_the_same_network_twice():
    found = []
    for peer in (peers.ours, peers.torch_eager):
        peer("tiny")(2)
        found.append(peers.FACTS["parameters"])
    assert found[0] == found[1]
