"""Synthesis of words from a folder of sounds to files that play, heard by a judge."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from experiments.parts import speech_judge
from experiments.parts.speech_frames import FramesConfig
from experiments.parts.speech_judge import Judge, JudgeConfig
from experiments.parts.speech_texts import TextsConfig, read_texts, texts_of
from experiments.parts.written_sounds import SoundWriter
from experiments.reports.speech_synthesis import word_errors
from experiments.speech_commands import SpeechCommandsConfig
from experiments.speech_commands import build as build_judge
from experiments.speech_synthesis import PRESETS, SpeechSynthesisConfig, build, statistics
from jaxmodels.data.audio import AudioConfig, load_sounds
from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.resident import Resident
from jaxmodels.data.streamed import Streamed
from jaxmodels.errors import InputError
from jaxmodels.order import Order
from jaxmodels.train import configure, load_run, main
from tests.data.audio.recordings import CLASSES, RATE, tone, write, write_classes
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices
from tests.experiments.test_speech_commands import SMALL as JUDGE
from tests.experiments.test_speech_commands import flags_of, summary

SMALL = {"width": 16, "depth": 1, "bands": 16, "phases": 8, "integration": 2, "batch_size": 8}
SMALL |= {"steps": 6, "eval_every": 6, "log_every": 2, "mesh": "data=1"}


def run(**flags):
    return main(SpeechSynthesisConfig, build, PRESETS, flags_of(flags))


def test_texts_of_classes(tmp_path):
    texts = texts_of(("0", "#", "Yes"))
    assert texts.words == ("zero", "hash", "yes") and texts.longest == 4
    assert texts.facts() == {"texts": ["zero", "hash", "yes"]}
    assert texts.tokens("yes").tolist() == [texts.units.index(c) + 1 for c in "yes"] + [0]
    [(line, columns)] = read_texts([" 0"], texts, 1)
    assert (line, columns["tokens"].tolist()) == (" 0", texts.tokens("zero").tolist())
    (tmp_path / "new.txt").write_bytes(b"yes\x0cno\n\nca\xf1on\nYes\r\n")
    found = list(read_texts(tmp_path / "new.txt", texts, 0))
    assert [line for line, _ in found] == ["yes\x0cno", "", "ca\ufffdon", "Yes"]
    assert [isinstance(columns, BadRecord) for _, columns in found] == [True, True, True, False]
    with pytest.raises(InputError, match="expected both --units phones and --g2p"):
        TextsConfig(units="phones").validate()
    with pytest.raises(BadRecord, match="has the character 'x'"):
        texts.tokens("axe")
    with pytest.raises(BadRecord, match="has 5 characters; expected 4"):
        texts.tokens("hazes")
    assert word_errors(["one", "two"], ["one", "three"]) == 0.5


def test_streamed_batches_are_the_resident_ones(tmp_path):
    for person in ("ann", "bob"):
        for name, frequency in CLASSES.items():
            for number in range(9):
                sound = tone(frequency, 100 * ord(person[0]) + number)
                write(tmp_path / name / f"1_{person}_{number}.wav", sound)
    config = configure(SpeechSynthesisConfig(), **SMALL, data=str(tmp_path))
    resident, streamed = (
        build(configure(config, loading=loading)) for loading in ("resident", "streamed")
    )
    assert resident.facts == streamed.facts and isinstance(streamed.train, Streamed)
    order = Order(resident.train.size, 4, seed=0)
    rows, batches = (next(iter(e.train.send(order, [(0, 2)], 2))) for e in (resident, streamed))
    assert batches.keys() == {"sound", "length", "tokens", "speaker"}
    for name, values in batches.items():
        np.testing.assert_array_equal(values, resident.train.arrays[name][rows["row"]])
    assert {0, 1} == set(batches["speaker"].ravel().tolist())
    # What decodes is sent to workers.
    again = pickle.loads(pickle.dumps(streamed.train)).examples(np.arange(2))
    np.testing.assert_array_equal(again["sound"], resident.train.arrays["sound"][:2])


def test_statistics_are_of_sounds_from_all_over_a_split():
    noise = np.random.default_rng(0).normal(size=(1200, 256)) * np.repeat([30, 9000], 600)[:, None]
    sounds = {"sound": noise.clip(-32768, 32767).astype(np.int16)}
    source = Resident({**sounds, "length": np.full(1200, 256, np.int32)})
    _, deviation = statistics(source, FramesConfig(bands=4).mel(RATE))
    # Half of them are far louder than the first 600.
    assert deviation > 4


def test_the_default_judge_learns_from_the_same_rows_before_the_first_step(tmp_path, monkeypatch):
    trained = []

    def train(build, config):
        trained.append(config)
        return SimpleNamespace(finished=True)

    monkeypatch.setattr(speech_judge, "train", train)
    data = str(write_classes(tmp_path / "words", 20))
    for flags in ({}, {"rate": 2000}, {"longest": 5.0}, {"test_fraction": 0.2}, {"seconds": 0.1}):
        config = AudioConfig(data=data, data_dir=".", **flags)
        sounds = load_sounds(config)
        judge = Judge(JudgeConfig(judge_steps=7), config, sounds)
        before = len(trained)
        judge.prepare(["ann"], [])
        assert len(trained) == before  # without a split, nothing is heard
        judge.prepare(["ann"], ["test"])
        absolute = str((tmp_path / "words").resolve())
        expected = replace(config, data=absolute, data_dir=str(Path.cwd()))
        assert trained[-1].data == expected and trained[-1].run.steps == 7
        # There are fewer sounds than a batch of the classifier usually has.
        assert trained[-1].run.batch_size == sounds.sizes["train"]
    assert len(trained) == len({one.run.workdir for one in trained}) == 5
    flags = {**SMALL, "data": data, "validation_fraction": 0.2}
    experiment = build(configure(SpeechSynthesisConfig(), **flags))
    assert len(trained) == 5
    experiment.require_scorable(experiment.evaluation)
    assert trained[-1].data.validation_fraction == 0.2
    assert len({one.run.workdir for one in trained}) == 6


def test_a_judge_that_cannot_hear_these_sounds_is_refused(tmp_path, monkeypatch):
    data = load_sounds(AudioConfig(data=str(write_classes(tmp_path / "words", 20))))
    judge = Judge(JudgeConfig(judge="run"), AudioConfig(), data)
    facts = {"classes": ["high", "low"], "rate": RATE}

    def prepare(**changes):
        record = {"experiment": "speech_commands", "facts": {"data": {**facts, **changes}}}
        folder = SimpleNamespace(record=lambda role: record)
        monkeypatch.setattr(speech_judge, "RunFolder", lambda path: folder)
        judge.prepare(["ann"], ["test"])

    prepare()
    with pytest.raises(InputError, match="knows the words low; expected high, low"):
        prepare(classes=["low"])
    with pytest.raises(InputError, match="hears sounds of 8,000 Hz; expected 4,000"):
        prepare(rate=8000)


def test_a_sound_that_is_not_finite_is_heard_as_no_word_and_is_not_written(tmp_path):
    data = load_sounds(AudioConfig(data=str(write_classes(tmp_path / "words", 20))))
    judge = Judge(JudgeConfig(), AudioConfig(), data)
    lines = [{"label": "low"}, {"error": "is broken"}]
    judge._runs[""] = SimpleNamespace(predict=lambda sounds: lines[: len(sounds)])
    good, bad = np.zeros(9, np.float32), np.full(9, np.nan, np.float32)
    assert judge.hear([bad, good, good], ["", "", ""]) == ["", "low", ""]
    assert judge.hear([bad, bad], ["", ""]) == ["", ""]
    assert word_errors(["one", "two"], ["one", ""]) == 0.5
    write = SoundWriter(str(tmp_path / "said.jsonl"), RATE)
    assert write({"sound": bad, "length": 9})["error"].endswith("is not finite")
    assert write({"sound": good, "length": 9})["audio"] == "said-1.wav"
    # Only what counts of a row has to be finite.
    assert write({"sound": np.append(good, np.nan), "length": 9})["audio"] == "said-2.wav"


@pytest.mark.slow
def test_a_folder_of_words_to_sounds_that_a_judge_hears(tmp_path, capsys):
    words = tmp_path / "words"
    for person, change in (("ann", 1.0), ("bob", 1.3)):
        for name, frequency in CLASSES.items():
            for number in range(12):
                sound = tone(frequency * change, ord(person[0]) * 100 + number)
                write(words / name / f"1_{person}_{number}.wav", sound)
    judge, workdir = tmp_path / "judge", tmp_path / "run"
    flags = flags_of({**JUDGE, "data": words, "workdir": judge})
    assert main(SpeechCommandsConfig, build_judge, {}, flags) == 0
    assert run(data=words, workdir=workdir, judge=judge, **SMALL) == 0
    found = summary(capsys.readouterr().out)
    names = [name for name in found if name.startswith("test/")]
    scores = ("loss", "velocity", "duration", "round_trip_wer", "mel_cepstral_distortion")
    assert names == [f"test/{name}" for name in scores]
    report = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert report["judge"]["wer_of_recordings"] == 0
    assert report["round_trip_wer_of_voices"].keys() == {"ann", "bob"}
    played = sorted((workdir / "samples").glob("said-test-*.wav"))
    assert len(played) == 2 and all(soundfile.info(path).samplerate == RATE for path in played)
    assert "audio/wav;base64" in (workdir / "report.html").read_text()
    # Each voice heard by the run that has left its speaker out.
    folds, alone = tmp_path / "folds", {**JUDGE, "folds": "speakers", "validation_fraction": 0.0}
    flags = flags_of({**alone, "data": words, "workdir": folds})
    assert main(SpeechCommandsConfig, build_judge, {}, flags) == 0
    capsys.readouterr()
    assert run(workdir=workdir, mode="evaluate", judge=folds) == 0
    told = capsys.readouterr().err
    [first] = json.JSONDecoder().raw_decode(told[told.index("{") :])[0].values()
    assert first["judge"]["without_the_speaker"].keys() == {"ann", "bob"}
    shutil.rmtree(folds / "fold-bob")
    assert run(workdir=workdir, mode="evaluate", judge=folds) == 2
    assert "fold-bob holds no run of 'speech_commands'" in capsys.readouterr().err
    texts, output = tmp_path / "texts.txt", tmp_path / "said.jsonl"
    texts.write_text("low\nxyz\nHIGH\n")
    flags = {"workdir": workdir, "mode": "predict", "input": texts, "output": output}
    assert run(**flags, voice="bob") == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line.get("audio") for line in lines] == ["said-1.wav", None, "said-2.wav"]
    assert "has the character 'x'" in lines[1]["error"]
    said, rate = soundfile.read(tmp_path / "said-2.wav")
    assert rate == RATE and len(said) / rate == pytest.approx(lines[2]["seconds"])
    assert run(**flags, voice="eve") == 2
    assert "expected one of ann, bob" in capsys.readouterr().err


@pytest.mark.campaign
@pytest.mark.slow
def test_a_run_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path):
    examples = [(tone(f, n, 0.1 + 0.01 * n), name) for name, f in CLASSES.items() for n in range(9)]
    others = [(tone(f, 50 + n), name) for name, f in CLASSES.items() for n in range(2)]
    data = {"train": examples, "test": others}
    flags = {**SMALL, "rate": RATE, "validation_fraction": 0.0, "steps_per_dispatch": 2}
    flags |= {"optimizer": "momentum", "learning_rate": 0.01, "weight_decay": 0.0}
    config = configure(SpeechSynthesisConfig(), **flags)
    whole = resumed_to_the_bit(build, config, data, tmp_path, step=2)
    other = configure(config, mesh="", workdir=str(tmp_path / "many"))
    same_on_other_devices(build, other, data, whole, 1e-3)
    [line] = load_run(tmp_path / "whole").predict(["low"])
    assert len(line["samples"]) == pytest.approx(line["seconds"] * RATE)
