"""Recognition of speech from recordings to a file of texts: resume, devices, Whisper."""

import json
import os
import signal
import wave

import jax
import numpy as np
import pytest

from experiments.speech_recognition import PRESETS, SpeechRecognitionConfig, build
from jaxmodels.train import configure, main, train
from tests.experiments.test_sentiment import flags_of, summary
from tests.marks import slow

RATE = 1000
NAMES = {"low": 90, "mid": 190, "top": 320}
TINY = {"rate": RATE, "bands": 12, "window": 0.06, "hop": 0.02, "units": "words"}
SMALL = {"halvings": 1, "width": 16, "layers": 1, "steps": 60, "batch_size": 16}
SMALL |= {"learning_rate": 0.02, "eval_every": 60, "mesh": "data=1"}
CONFORMER = {"model": "conformer", "heads": 2, "kernel": 3}


def recordings(count, seed=0):
    """Strings of one to three tones in noise, with their names."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        names = rng.choice(list(NAMES), rng.integers(1, 4)).tolist()
        parts = [np.zeros(rng.integers(30, 80))]
        for name in names:
            times = np.arange(rng.integers(110, 160)) / RATE
            parts += [np.sin(2 * np.pi * NAMES[name] * times), np.zeros(rng.integers(50, 90))]
        sound = np.concatenate(parts)
        sound = 8000 * (sound + 0.05 * rng.normal(size=len(sound)))
        found.append((np.rint(sound).astype(np.int16), " ".join(names)))
    return found


def write(folder, found):
    folder.mkdir(parents=True)
    for number, (sound, text) in enumerate(found):
        with wave.open(str(folder / f"{number:03}.wav"), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(RATE)
            file.writeframes(sound.tobytes())
        (folder / f"{number:03}.txt").write_text(text)


def run(**flags):
    return main(SpeechRecognitionConfig, build, PRESETS, flags_of(flags))


def test_a_folder_of_recordings_to_a_file_of_texts(tmp_path, capsys):
    data, workdir = tmp_path / "data", tmp_path / "run"
    write(data / "train", recordings(64))
    write(data / "test", recordings(12, seed=1))
    flags = {**TINY, **SMALL, **CONFORMER, "data": data, "validation_fraction": 0}
    assert run(**flags, workdir=workdir) == 0
    found = summary(capsys.readouterr().out)
    names = [name for name in found if name.startswith("test/")]
    assert names == ["test/loss", "test/wer", "test/cer"]
    assert float(found["test/wer"]) < 0.2
    report = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert report["texts"] == 12 and "digits spelled" in report["normalisation"]
    assert report["errors"]["words"] == sum(len(t.split()) for _, t in recordings(12, seed=1))
    assert "the worst transcripts first" in (workdir / "samples/transcripts-test.txt").read_text()
    assert (workdir / "samples/worst-test.png").exists()
    with wave.open(str(workdir / "samples/worst-test-1.wav")) as file:
        assert file.getframerate() == RATE
    (data / "test/broken.wav").write_bytes(b"no sound")
    output = tmp_path / "new.jsonl"
    assert run(workdir=workdir, mode="predict", input=data / "test", output=output) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["input"] for line in lines][::12] == ["000.wav", "broken.wav"]
    assert "cannot be decoded" in lines[-1]["error"]
    right = [line.get("text") == text for line, (_, text) in zip(lines, recordings(12, seed=1))]
    assert np.mean(right) == pytest.approx(report["right"] / 12)
    # A search of prefixes with n-grams reads the same run.
    config = {"beams": 4, "grammar": 2, "workdir": tmp_path / "beams"}
    assert run(**{**flags, "steps": 1, "eval_every": 1}, **config) == 0


def test_what_makes_no_sense_is_refused(tmp_path, capsys):
    assert run(grammar=3, workdir=tmp_path / "run") == 2
    assert "expected --beams 8" in capsys.readouterr().err
    assert run(model="whisper", rate=16000, workdir=tmp_path / "run") == 2
    assert "--init-from WEIGHTS" in capsys.readouterr().err
    write(tmp_path / "data/train", [(sound, "low " * 40) for sound, _ in recordings(3)])
    flags = {**TINY, **SMALL, **CONFORMER, "data": tmp_path / "data", "workdir": tmp_path / "run"}
    assert run(**flags) == 2
    assert "its text needs 79" in capsys.readouterr().err


@pytest.mark.parametrize("model", list(map(slow, ("conformer", "lstm"))))
def test_a_run_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path, model):
    data = {"train": recordings(32), "test": recordings(11, seed=1)}
    flags = {**TINY, **SMALL, "steps": 8, "log_every": 2, "eval_every": 4, "dropout": 0.1}
    flags |= {"steps_per_dispatch": 2, "optimizer": "momentum", "learning_rate": 0.01}
    flags |= {"tempo": 0.1, "noise": 0.5, "time_masks": (1, 4), "validation_fraction": 0.0}
    del flags["mesh"]
    flags |= CONFORMER if model == "conformer" else {"model": "lstm", "hidden": 8}
    config = configure(SpeechRecognitionConfig(), **flags)
    one = configure(config, mesh="data=1")
    whole = train(build, configure(one, workdir=str(tmp_path / "whole")), data)

    def interrupted(config, data):
        return build(config, data)._replace(
            describe=lambda step, *_: os.kill(os.getpid(), signal.SIGTERM) if step == 4 else None
        )

    parts = configure(one, workdir=str(tmp_path / "parts"), accept_code_change=True)
    assert not train(interrupted, parts, data).finished
    resumed = train(build, parts, data)
    for a, b in zip(*(jax.tree.leaves(r.state) for r in (whole, resumed)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    many = train(build, configure(config, workdir=str(tmp_path / "many")), data)
    for a, b in zip(*(jax.tree.leaves(r.state["params"]) for r in (whole, many)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parity
def test_whisper_is_used_as_it_is_and_learns_on(tmp_path, capsys):
    folder = toy_whisper(tmp_path / "whisper")
    data = tmp_path / "data"
    write(data / "train", recordings(6))
    write(data / "test", recordings(3, seed=1))
    output = tmp_path / "new.jsonl"
    flags = {"init_from": folder, "data": data, "validation_fraction": 0, "most_tokens": 6}
    predict = {"mode": "predict", "input": data / "test", "output": output}
    assert run(**flags, **predict, workdir=tmp_path / "none") == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) == 3 and all(isinstance(line["text"], str) for line in lines)
    assert run(**flags, mode="evaluate", workdir=tmp_path / "none") == 0
    before = summary(capsys.readouterr().out)
    assert float(before["test/wer"]) > 0.5
    flags |= {"steps": 4, "eval_every": 4, "batch_size": 6, "learning_rate": 0.01}
    assert run(**flags, mesh="data=1", workdir=tmp_path / "run") == 0
    after = summary(capsys.readouterr().out)
    assert float(after["test/loss"]) < float(before["test/loss"])
    out = tmp_path / "out"
    assert run(workdir=tmp_path / "run", mode="export", output=out) == 0
    import transformers

    model = transformers.WhisperForConditionalGeneration.from_pretrained(out)
    assert model.config.suppress_tokens == [5] and (out / "tokenizer.json").exists()


def toy_whisper(folder):
    """A tiny Whisper that transformers writes, with a tokenizer of characters."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

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


@pytest.mark.parity
def test_the_benchmark_trains_the_same_network_twice():
    from experiments.benchmarks import speech_recognition_peers as peers

    found = []
    for peer in (peers.ours, peers.torch_eager):
        peer("tiny")(2)
        found.append(peers.FACTS["parameters"])
    assert found[0] == found[1]
