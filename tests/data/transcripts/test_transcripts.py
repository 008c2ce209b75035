"""Sounds with texts: layouts of folders, labels, what is bad, what comes out."""

import wave

import numpy as np
import pytest

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.transcripts import TranscriptConfig, load_transcripts, read_recordings
from jaxmodels.data.transcripts.generated import dialled_keys
from jaxmodels.data.transcripts.labels import in_form, labels_of
from jaxmodels.data.transcripts.layouts import open_folder
from jaxmodels.errors import InputError

RATE = 1000


def sound(seconds=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return (8000 * rng.normal(size=round(seconds * RATE))).clip(-30000, 30000).astype(np.int16)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))


def examples(count, seed=0):
    return [(sound(0.2 + 0.01 * n, seed + n), f"Word {'abc'[n % 3]}!") for n in range(count)]


def test_a_text_beside_each_sound(tmp_path, capsys):
    for number, name in enumerate(("train/one", "train/two", "test/deep/three", "validation/four")):
        path = write(tmp_path / f"data/{name}.wav", sound(seed=number))
        path.with_suffix(".txt").write_text(f"Said {number},\nso.\n")
    write(tmp_path / "data/train/mute.wav", sound(seed=9))
    data = load_transcripts(TranscriptConfig(data=str(tmp_path / "data")))
    assert data.sizes == {"train": 2, "validation": 1, "test": 1}
    assert data.texts("test") == ["said 2 so"] and data.rate == RATE
    assert "1 sounds have no text and are left out, as train/mute.wav" in capsys.readouterr().err
    columns = data.columns("train")
    assert columns["sound"].dtype == np.int16 and columns["length"].tolist() == [300, 300]
    tokens, length = columns["tokens"][0], columns["text_length"][0]
    assert data.coder.decode(tokens[:length].tolist()) == "said 0 so"
    assert data.cleaning["unknown"]["test"]["count"] == 1  # "2" is in no training text
    assert load_transcripts(TranscriptConfig(data=str(tmp_path / "data"))).facts() == data.facts()
    (tmp_path / "data/train/one.txt").write_text("other")
    after = load_transcripts(TranscriptConfig(data=str(tmp_path / "data")))
    assert after.fingerprint != data.fingerprint


def test_the_layouts_of_ljspeech_and_librispeech(tmp_path):
    lj, libri = tmp_path / "lj", tmp_path / "libri"
    write(lj / "wavs/LJ001-0001.wav", sound(seed=1))
    write(lj / "wavs/LJ001-0002.wav", sound(seed=2))
    (lj / "metadata.csv").write_text("\ufeffLJ001-0001|In 1999.|In nineteen\nLJ001-0002|Two||\n")
    records = open_folder(lj).splits["train"]
    assert [one["text"] for one in records.read([0, 1])] == [b"In nineteen", b"Two"]
    for split in ("train-clean-100", "dev-clean", "test-clean", "test-other"):
        folder = libri / split / "19/198"
        write(folder / "19-198-0000.wav", sound(seed=3))
        (folder / "19-198.trans.txt").write_text(f"19-198-0000 OF {split.upper()}\n")
    found = open_folder(libri).splits
    assert list(found) == ["train", "validation", "test", "test-other"]
    assert found["test-other"].read([0])[0]["text"] == b"OF TEST-OTHER"


def test_equal_names_in_two_splits_have_the_texts_of_their_own_lists(tmp_path):
    for split, text in (("train", "in train"), ("test", "in test")):
        write(tmp_path / split / "wavs/1.wav", sound(seed=len(split)))
        (tmp_path / split / "metadata.csv").write_text(f"1|{text}\n")
    found = open_folder(tmp_path).splits
    # A text whose recording is lost is not that of another split.
    with (tmp_path / "train/metadata.csv").open("a") as file:
        file.write("2|lost\n")
    write(tmp_path / "test/wavs/2.wav", sound(seed=9))
    assert len(open_folder(tmp_path).splits["test"]) == 1
    for split in ("train", "test"):
        [record] = found[split].read([0])
        assert record["text"] == f"in {split}".encode()
        assert record["file"] == f"{split}/wavs/1.wav".encode()
        (tmp_path / split / "metadata.csv").unlink()
    # One list above both cannot say which it means, unless it names the folder.
    (tmp_path / "metadata.csv").write_text("1|of which?\n")
    with pytest.raises(InputError, match=r"2 sounds that metadata\.csv may mean by .1., test/wavs"):
        open_folder(tmp_path)
    (tmp_path / "metadata.csv").write_text("train/wavs/1|one\ntest/wavs/1|two\n")
    assert open_folder(tmp_path).splits["test"].read([0])[0]["text"] == b"two"


def test_bad_recordings_and_texts_are_counted_and_listed():
    rows = examples(8)
    rows += [
        (np.zeros(300, np.int16), "silent"),
        (sound(0.02), "short"),
        (sound(3.0, 50), "long"),
        (sound(seed=51), "  "),
        (rows[0][0], "contradicts"),
        (sound(seed=60), "in both"),
        (sound(0.06, 61), "far too many labels for so short a sound"),
    ]
    given = {"train": rows, "test": [(sound(seed=60), "in both")]}
    config = {"rate": RATE, "longest": 2.0, "validation_fraction": 0.0}

    def frames(rate):
        return lambda samples: samples // 20 + 1

    with pytest.raises(InputError, match="has 6 bad records"):
        load_transcripts(TranscriptConfig(**config), given, frames=frames)
    with pytest.raises(InputError, match="has 4 frames; its text needs 41"):
        load_transcripts(TranscriptConfig(**config, skip_bad_records=6), given, frames=frames)
    data = load_transcripts(TranscriptConfig(**config, skip_bad_records=7), given, frames=frames)
    assert data.sizes == {"train": 8, "test": 1}
    kinds = sorted(row.kind for row in data.skipped)
    assert kinds == ["contradiction", "duplicate", "hurried", "overlong", "short", "silent", "text"]
    assert data.facts()["skipped"]["count"] == 7


def test_labels_of_characters_and_words():
    assert in_form("“Don’t” - he SAID, 3 times!", "plain") == "don't he said 3 times"
    assert in_form("As\n it  is.", "kept") == "As it is."
    characters, words = labels_of(["ab a"], "characters"), labels_of(["one two one"], "words")
    assert characters.known == (" ", "a", "b") and words.size == 3
    assert words.decode(words.encode("two one").tolist()) == "two one"
    assert characters.encode("abc").tolist() == [2, 3] and characters.unknown_in("abc") == ["c"]
    assert characters.fingerprint != words.fingerprint


def test_generated_strings_are_the_same_each_time():
    sizes = {"train": 2, "test": 3}
    one, other = (dialled_keys(sizes).splits["test"].read([0, 2]) for _ in range(2))
    for a, b in zip(one, other):
        assert a["text"] == b["text"] and np.array_equal(a["sound"], b["sound"])
    assert 3 <= len(one[0]["text"].split()) <= 8


def test_recordings_to_transcribe(tmp_path):
    given = {"train": examples(12), "test": examples(2, seed=90)}
    data = load_transcripts(TranscriptConfig(rate=RATE, validation_fraction=0.0), given)
    write(tmp_path / "new/b.wav", sound(0.2), RATE)
    write(tmp_path / "new/a/c.wav", sound(0.4), 2 * RATE)
    (tmp_path / "new/broken.wav").write_bytes(b"RIFF")
    write(tmp_path / "new/long.wav", sound(9.0))
    found = dict(read_recordings(tmp_path / "new", data))
    assert list(found) == ["a/c.wav", "b.wav", "broken.wav", "long.wav"]
    assert found["b.wav"]["length"] == 200 and found["a/c.wav"]["length"] == 200
    assert found["b.wav"]["sound"].shape == (data.samples,)
    assert isinstance(found["broken.wav"], BadRecord)
    assert "lasts 9.0 s; expected at most" in str(found["long.wav"])


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(InputError, match="Known: dialled_keys, connected_digits"):
        load_transcripts(TranscriptConfig(data="connected_digit"))
    write(tmp_path / "alone/one.wav", sound())
    with pytest.raises(InputError, match=r"no text of one; expected NAME\.txt"):
        load_transcripts(TranscriptConfig(data=str(tmp_path / "alone")))
    with pytest.raises(InputError, match="expected --rate N"):
        load_transcripts(TranscriptConfig(), {"train": examples(3)})
