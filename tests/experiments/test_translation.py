"""Translation from a file to lines: scores, what is kept, resume in an epoch, devices, other
data."""

import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.reports.translation import worst_first
from experiments.translation import PRESETS, TranslationConfig, build
from jaxmodels.data.pairs import load_pairs
from jaxmodels.errors import InputError
from jaxmodels.train import configure, load_run, main, train
from tests.experiments.rates import tokens_of_an_example
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices

SMALL = {"tokenizer": "chars", "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
SMALL |= {"batch_size": 8, "eval_batch_size": 8, "warmup_steps": 5, "test_fraction": 0.0}
LETTERS = "abcd"


def pairs(count=60, seed=0):
    """Words of a few letters, and the same letters in capitals."""
    generator = np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        length = generator.choice([2, 3, 12])
        word = "".join(generator.choice(list(LETTERS), length))
        found[word] = word.upper()
    return list(found.items())


def flags_of(values):
    words = []
    for name, value in values.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def run(**flags):
    return main(TranslationConfig, build, PRESETS, flags_of(flags))


def test_a_file_of_pairs_to_translations(tmp_path, capsys):
    data, workdir = tmp_path / "pairs.tsv", tmp_path / "run"
    data.write_text("".join(f"{a}\t{b}\n" for a, b in pairs()))
    flags = {
        **SMALL,
        "data": data,
        "workdir": workdir,
        "mesh": "data=1",
        "validation_fraction": 0.2,
        "buckets": 1,  # fewer programs
    }
    assert run(**flags, steps=6, eval_every=6, log_every=3) == 0
    captured = capsys.readouterr()
    found = dict(field.split("=", 1) for field in captured.out.splitlines()[-1].split(" "))
    names = [name for name in found if name.startswith("validation/")]
    scores = ("loss", "accuracy", "bleu", "chrf", "exact_match")
    assert names == [f"validation/{name}" for name in scores]
    row = re.search(r"buckets, in a row of a batch: 1 of (\d+) \+ (\d+)", captured.err)
    assert tokens_of_an_example(workdir) == int(row[1]) + int(row[2])
    record = json.loads((workdir / "evaluation.json").read_text())["validation"]
    assert record["signatures"]["bleu"].startswith("nrefs:1|case:mixed")
    lines = (workdir / "samples/translations-validation.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    assert [one["input"].upper() for one in kept] == [one["reference"] for one in kept]
    assert (workdir / "samples/attention-validation.png").exists()
    assert "worst first" in (workdir / "samples/examples-validation.txt").read_text()
    new, output = tmp_path / "new.txt", tmp_path / "new.jsonl"
    new.write_bytes(b"abc\n\nd\xe9\n" + kept[0]["input"].encode() + b"\n")
    assert run(workdir=workdir, mode="predict", input=new, output=output) == 0
    assert "count=4 failed=2" in capsys.readouterr().out
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert [list(line) for line in written] == [
        ["input", "output"],
        *[["input", "error"]] * 2,
        ["input", "output"],
    ]
    assert written[3]["output"] == kept[0]["output"]


@pytest.mark.slow
def test_the_task_is_learned_and_other_data_is_scored(tmp_path, capsys):
    config = configure(TranslationConfig(), **SMALL, steps=400, eval_every=400, learning_rate=0.01)
    config = configure(config, mesh="data=1", beams=2, validation_fraction=0.0)
    config = configure(config, skip_bad_records=100)  # pairs that are in both splits
    given = {"train": pairs(400), "test": pairs(30, seed=1)}
    result = train(build, configure(config, workdir=str(tmp_path / "run")), given)
    assert result.scores["test"]["exact_match"] > 0.9
    lines = load_run(tmp_path / "run").predict(["abca", "dd"])
    assert [line["output"] for line in lines] == ["ABCA", "DD"]
    other = tmp_path / "other.tsv"
    other.write_text("ab\tAB\ncda\tCDA\n")
    data = load_pairs(config.data, given)
    found = build(config, data).elsewhere(configure(config, data=str(other)))
    assert found.sources["train"].size == 2 and found.name == "other.tsv"


@pytest.mark.slow
def test_a_run_resumes_to_the_bit_in_an_epoch_and_is_the_same_on_all_devices(tmp_path):
    given = {"train": pairs(100), "test": pairs(10, seed=1)}
    flags = {**SMALL, "steps": 12, "log_every": 2, "eval_every": 6, "steps_per_dispatch": 2}
    # Adam would amplify the rounding of gradients that are truly zero, as those of keys' biases.
    flags |= {"dropout": 0.2, "label_smoothing": 0.1, "optimizer": "momentum"}
    flags |= {"learning_rate": 0.01, "weight_decay": 0.0, "validation_fraction": 0.0}
    flags |= {"skip_bad_records": 100}  # pairs that are in both splits
    config = configure(TranslationConfig(), **flags)
    one = configure(config, mesh="data=1")
    whole = resumed_to_the_bit(build, one, given, tmp_path)
    for parallel in ("jit", "pmap"):
        many = configure(config, workdir=str(tmp_path / parallel), parallel=parallel)
        found = same_on_other_devices(build, many, given, whole, 1e-4)
        assert found.scores["test"]["bleu"] == pytest.approx(whole.scores["test"]["bleu"])


@pytest.mark.slow
def test_the_attention_of_a_chosen_source_is_drawn(tmp_path, monkeypatch):
    drawn = []
    module = "experiments.reports.translation.attention_figure"
    monkeypatch.setattr(module, lambda weights, source, *_: drawn.append(source) or Figure())
    given = {"train": pairs(40), "test": pairs(8, seed=1)}
    chosen = given["test"][5][0]
    flags = {**SMALL, "steps": 1, "mesh": "data=1", "buckets": 1, "validation_fraction": 0.0}
    flags |= {"skip_bad_records": 100, "workdir": str(tmp_path / "run")}
    config = configure(TranslationConfig(), **flags, attend=chosen)
    train(build, config, given)
    assert ["".join(source[:-1]) for source in drawn] == [chosen]
    with pytest.raises(InputError, match="attend = zebra; it is no source of test: expected one"):
        build(configure(config, attend="zebra"), given)
    model = {"model": "t5", "layers": 1, "decoder_layers": 1, "head_size": 8}
    plain = {name: value for name, value in flags.items() if "coder" not in name}
    with pytest.raises(InputError, match="the model shows no attention: expected it left out"):
        build(configure(TranslationConfig(), **{**plain, **model}, attend=chosen), given)


def test_examples_are_shown_the_worst_first():
    good = [(f"{n}", f"text {n}", f"text {n}") for n in range(60)]
    shown = worst_first([*good, ("x", "wrong", "text 5")])
    assert shown[0][0] == "x" and len(shown) == 40
    assert [one[3] for one in shown] == sorted(one[3] for one in shown)


def test_what_makes_no_sense_is_refused(tmp_path, capsys):
    assert run(workdir=tmp_path / "run", beams=0) == 2
    assert "beams = 0; expected at least 1" in capsys.readouterr().err
    assert run(workdir=tmp_path / "run", tokenizer="words") == 2
    assert "tokenizer = words; expected chars, bpe, or a path" in capsys.readouterr().err
