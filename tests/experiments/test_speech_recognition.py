"""Recognition of speech from recordings to a file of texts: resume, devices, Whisper."""

import json
import shutil
import wave

import numpy as np
import pytest
from jiwer import wer

from experiments.speech_recognition import PRESETS, SpeechRecognitionConfig, build
from jaxmodels.train import configure, load_run, main
from jaxmodels.train.identity import identity, workdir_of
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices
from tests.experiments.test_sentiment import flags_of, summary

RATE = 1000
NAMES = {"low": 90, "mid": 190, "top": 320}
TINY = {"rate": RATE, "longest": 3.0, "bands": 12, "window": 0.06, "hop": 0.02, "units": "words"}
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


@pytest.mark.slow
def test_a_folder_of_recordings_to_a_file_of_texts(tmp_path, capsys):
    data, workdir = tmp_path / "data", tmp_path / "run"
    write(data / "train", recordings(96))
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
    # Other recordings, as many, with words that the run does not know.
    write(tmp_path / "other/train", [(sound, "low word") for sound, _ in recordings(2)])
    write(tmp_path / "other/test", [(sound, "low new") for sound, _ in recordings(12, seed=1)])
    assert run(workdir=workdir, mode="evaluate", data=tmp_path / "other") == 0
    scores = json.loads((workdir / "evaluation-other.json").read_text())["splits"]["test"]
    assert scores["wer"] >= 0.5
    right = [line.get("text") == text for line, (_, text) in zip(lines, recordings(12, seed=1))]
    assert np.mean(right) == pytest.approx(report["right"] / 12)


@pytest.mark.slow
def test_a_search_with_ngrams_is_asked_of_a_trained_run_and_reads_no_worse(tmp_path, capsys):
    write(tmp_path / "data/train", recordings(96))
    write(tmp_path / "data/test", recordings(40, seed=1))
    flags = {**TINY, **SMALL, **CONFORMER, "steps": 30, "eval_every": 30}
    flags |= {"data": tmp_path / "data", "validation_fraction": 0, "workdir": tmp_path / "run"}
    assert run(**flags) == 0
    found = [summary(capsys.readouterr().out)]
    search = {"beams": 8, "grammar": 2, "grammar_weight": 0.3}
    assert run(workdir=tmp_path / "run", mode="evaluate", **search) == 0
    found.append(summary(capsys.readouterr().out))
    assert found[0]["test/loss"] == found[1]["test/loss"]
    assert float(found[1]["test/wer"]) <= float(found[0]["test/wer"]) + 0.02
    # In training, they are part of what the run is.
    assert run(**flags, **search) == 2
    assert "beams 1 -> 8" in capsys.readouterr().err
    # The n-grams are of texts that the run has kept.
    shutil.rmtree(tmp_path / "data/train")
    output = tmp_path / "new.jsonl"
    given = {"mode": "predict", "input": tmp_path / "data/test", "output": output}
    assert run(workdir=tmp_path / "run", **given, **search) == 0
    texts = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    wrong = wer([text for _, text in recordings(40, seed=1)], texts)
    assert wrong == pytest.approx(float(found[1]["test/wer"]), abs=1e-3)
    assert load_run(tmp_path / "run", beams=4, grammar=2).config.decoding.beams == 4


def test_a_kept_tokenizer_is_the_same_in_any_cache(tmp_path, monkeypatch):
    found = []
    for cache, name in (("a", "0123"), ("b", "0123"), ("b", "4567")):
        monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / cache))
        kept = str(tmp_path / cache / "tokenizers" / name)
        config = configure(SpeechRecognitionConfig(), tokenizer=kept)
        found.append((identity(config), workdir_of(config)))
    assert found[0] == found[1]
    # What it holds is among the facts of the data, so that another one is refused there.
    assert found[1][0] == found[2][0] and found[1][1] != found[2][1]


def test_what_makes_no_sense_is_refused(tmp_path, capsys):
    assert run(grammar=3, workdir=tmp_path / "run") == 2
    assert "expected --beams 8" in capsys.readouterr().err
    assert run(model="whisper", rate=16000, workdir=tmp_path / "run") == 2
    assert "--init-from WEIGHTS" in capsys.readouterr().err
    write(tmp_path / "data/train", [(sound, "low " * 40) for sound, _ in recordings(3)])
    flags = {**TINY, **SMALL, **CONFORMER, "data": tmp_path / "data", "workdir": tmp_path / "run"}
    assert run(**flags) == 2
    assert "its text needs 79" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("model", ["conformer", "lstm"])
def test_a_run_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path, model):
    data = {"train": recordings(32), "test": recordings(11, seed=1)}
    flags = {**TINY, **SMALL, "steps": 8, "log_every": 2, "eval_every": 4, "dropout": 0.1}
    flags |= {"steps_per_dispatch": 2, "optimizer": "momentum", "learning_rate": 0.01}
    flags |= {"tempo": 0.1, "noise": 0.5, "time_masks": (1, 4), "validation_fraction": 0.0}
    del flags["mesh"]
    flags |= CONFORMER if model == "conformer" else {"model": "lstm", "hidden": 8}
    config = configure(SpeechRecognitionConfig(), **flags)
    one = configure(config, mesh="data=1")
    whole = resumed_to_the_bit(build, one, data, tmp_path)
    lines = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if line["split"] == "train"]
    assert losses[-1] < losses[0]
    other = configure(config, workdir=str(tmp_path / "many"))
    same_on_other_devices(build, other, data, whole, 1e-4)
