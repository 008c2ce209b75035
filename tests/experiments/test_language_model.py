"""The language model experiment as a user runs it."""

import contextlib
import io
import json
import math

import numpy as np
import pytest

from experiments.language_model import PRESETS, LanguageModelConfig, build
from jaxmodels import verify
from jaxmodels.data.text import text_from_strings
from jaxmodels.train import configure, main, train
from jaxmodels.train.modes import load_run
from tests.experiments.rates import tokens_of_an_example

SIZES = "--tokenizer bytes --depth 1 --width 16 --head-size 8 --context 16 --batch-size 8"
SIZES += " --mesh data=1"
PERIODS = "--steps 4 --log-every 2 --eval-every 2 --checkpoint-every 2 --length 12"
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "saw",
    "the",
    "dog",
    "that",
    "ran",
    "to",
    "the",
    "old",
    "house",
    "by",
    "the",
    "sea",
]


def _run(*arguments):
    """Exit code, standard output and standard error of the command line."""
    out, error = io.StringIO(), io.StringIO()
    words = [word for argument in arguments for word in str(argument).split()]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(LanguageModelConfig, build, PRESETS, words)
    return code, out.getvalue(), error.getvalue()


def _summary(out):
    return dict(field.split("=", 1) for field in out.splitlines()[-1].split(" "))


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _documents(count, seed):
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, 30)) + "\n" for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of texts with the splits."""
    folder = tmp_path_factory.mktemp("texts")
    for split, count in (("train", 12), ("validation", 2), ("test", 3)):
        (folder / split).mkdir()
        for row, text in enumerate(_documents(count, len(split))):
            (folder / split / f"{row}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A short run, and what it printed."""
    workdir = tmp_path_factory.mktemp("language") / "run"
    code, out, error = _run(f"--data {folder} --workdir {workdir}", SIZES, PERIODS)
    assert code == 0, error
    return workdir, out


@pytest.mark.slow
def test_scores_count_bytes_whatever_the_tokens(run, folder):
    workdir, out = run
    scores = {name: float(value) for name, value in _summary(out).items() if "test/" in name}
    names = {"loss", "accuracy", "bits_per_byte", "perplexity"}
    assert set(scores) == {f"test/{name}" for name in names}
    size = sum(len(path.read_bytes()) for path in (folder / "test").iterdir())
    protocol = json.loads((workdir / "evaluation.json").read_text())["test"]["protocol"]
    # Each document has its end as a token, and the first is predicted from one.
    assert (protocol["bytes"], protocol["tokens"]) == (size, size + 3)
    assert protocol["perplexity_per"] == "token"
    bits = scores["test/loss"] / math.log(2) * protocol["tokens"] / size
    assert scores["test/bits_per_byte"] == pytest.approx(bits, rel=1e-4)
    assert scores["test/perplexity"] == pytest.approx(math.exp(scores["test/loss"]), rel=1e-3)
    assert tokens_of_an_example(workdir) == 16
    lines = [line for line in _lines(workdir / "metrics.jsonl") if line["split"] == "train"]
    assert {"loss", "gradient_norm", "update_norm", "largest_logit", "norm/block_0"} < {*lines[0]}


@pytest.mark.slow
def test_texts_of_the_report_go_on_from_the_same_beginnings(run):
    workdir, _ = run
    texts = {path.name: path.read_text() for path in (workdir / "samples").iterdir()}
    assert set(texts) == {"step-00000002.txt", "step-00000004.txt"}
    beginnings = [[part.split("]")[0] for part in text.split("\n\n[")] for text in texts.values()]
    assert beginnings[0] == beginnings[1] and len(beginnings[0]) == 4


def test_samples_are_lines_of_a_file_or_appear_on_the_terminal(run, tmp_path):
    workdir, _ = run
    output = tmp_path / "texts.jsonl"
    flags = f"--workdir {workdir} --mode sample --prompt the a --count 2 --length 9"
    code, out, error = _run(flags, f"--output {output}")
    assert code == 0, error
    assert out.startswith("step=4 count=4 ")
    lines = _lines(output)
    assert [line["prompt"] for line in lines] == ["the", "the", "a", "a"]
    assert lines[0]["text"] != lines[1]["text"]
    code, out, error = _run(flags)
    assert code == 0, error
    shown = "\n".join(f"{line['prompt']}{line['text']}\n" for line in lines)
    assert out.rpartition("step=")[0] == shown


@pytest.mark.slow
def test_a_string_stops_a_text(run, tmp_path):
    workdir, _ = run
    flags = f"--workdir {workdir} --mode sample --prompt the --count 1 --length 9 --output"
    _run(flags, tmp_path / "whole.jsonl")
    text = _lines(tmp_path / "whole.jsonl")[0]["text"]
    stop = next(letter for letter in text[2:] if letter.strip() and letter not in text[:2])
    code, _, error = _run(flags, tmp_path / "cut.jsonl", "--stop", stop)
    assert code == 0, error
    assert _lines(tmp_path / "cut.jsonl")[0]["text"] == text[: text.index(stop)]


@pytest.mark.slow
def test_predictions_are_the_nats_that_evaluation_sums(run, folder, tmp_path):
    """Lines longer than a window too."""
    workdir, _ = run
    texts = [path.read_text().rstrip("\n") for path in sorted((folder / "test").iterdir())]
    (tmp_path / "new.txt").write_text("\r\n".join([*texts, "", "a"]))
    flags = f"--workdir {workdir} --mode predict --input {tmp_path}/new.txt"
    code, _, error = _run(flags, f"--output {tmp_path}/new.jsonl")
    assert code == 0, error
    lines = _lines(tmp_path / "new.jsonl")
    assert lines.pop(-2) == {"input": "", "error": "has no visible character"}
    assert [line["input"] for line in lines] == [*texts, "a"]
    assert [line["bytes"] for line in lines] == [*map(len, texts), 1]
    assert all(0 < line["nats"] < 8 * line["bytes"] for line in lines)
    found = load_run(workdir).predict(texts)
    np.testing.assert_allclose(
        [line["nats"] for line in found], [line["nats"] for line in lines[:3]], rtol=1e-6
    )
    (tmp_path / "none.txt").write_text("\n\n")
    code, _, error = _run(flags.replace("new.txt", "none.txt"), f"--output {tmp_path}/x.jsonl")
    assert (code, error.count("\n")) == (2, 1) and "it has no line of text" in error


@pytest.mark.slow
def test_a_run_that_goes_on_ends_with_the_same_bits(folder, tmp_path):
    """And so does one whose windows are streamed."""
    flags = f"--data {folder} --workdir {tmp_path}/run --schedule constant"
    for steps in (2, 4):
        code, _, error = _run(flags, SIZES, PERIODS, f"--steps {steps}", "--loading streamed")
        assert code == 0, error
    code, _, error = _run(flags.replace("/run", "/whole"), SIZES, PERIODS)
    assert code == 0, error
    parts, whole = ((tmp_path / name / "metrics.jsonl") for name in ("run", "whole"))
    wanted = [line for line in _lines(whole) if line["split"] != "test"]
    assert [line for line in _lines(parts) if line["split"] != "test"] == wanted


@pytest.mark.slow
def test_documents_of_a_notebook_stay_apart(tmp_path):
    flags = {"depth": 1, "width": 16, "head_size": 8, "context": 16, "batch_size": 8}
    flags |= {"within_documents": True, "dropout": 0.1, "z_loss": 1e-3, "tokenizer": "chars"}
    flags |= {"model": "gpt", "mesh": "data=1", "steps": 2, "length": 5}
    config = configure(LanguageModelConfig(), **flags, workdir=str(tmp_path / "run"))
    texts = {split: _documents(4, seed) for seed, split in enumerate(("train", "test"))}
    result = train(build, config, text_from_strings(texts, config.data))
    assert result.step == 2 and np.isfinite(result.scores["test"]["loss"])


@pytest.mark.slow
def test_a_run_of_masked_tokens_is_scored_by_these_alone(folder, tmp_path):
    flags = f"--data {folder} --workdir {tmp_path}/run --model gpt2 --layers 1 --width 16 --heads 2"
    sizes = "--tokenizer bytes --context 16 --batch-size 8 --mesh data=1 --mask-rate 0.3"
    periods = "--steps 2 --log-every 1 --eval-every 2 --objective masked"
    code, out, error = _run(flags, sizes, periods)
    assert code == 0, error
    scores = {name for name in _summary(out) if "test/" in name}
    assert scores == {"test/loss", "test/accuracy"}
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())["test"]
    size = sum(len(path.read_bytes()) for path in (folder / "test").iterdir()) + 3
    count = evaluation["protocol"]["masked_tokens"]
    assert abs(count - 0.3 * size) < 5 * (0.21 * size) ** 0.5
    assert 3 < evaluation["scores"]["loss"] < 8
    for mode in ("sample", "predict --input new.txt --output new.jsonl"):
        code, out, error = _run(f"--workdir {tmp_path}/run --mode {mode}")
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert "a model of masked tokens neither writes" in error
    assert verify.main([f"{tmp_path}/run", "--steps", "1"]) == 0
    other = f"--data {folder} --workdir {tmp_path}/other --tokenizer bytes --objective masked"
    for flags, message in (
        ("--context 400", "context = 400; "),
        ("--context 16 --window-pattern SL", "window_pattern = 'SL'; expected L"),
    ):
        code, out, error = _run(other, flags)
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert message in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--top-p 0", "top_p = 0.0"),
        ("--mask-rate 0", "mask_rate = 0.0; expected above 0"),
        ("--length 0", "length = 0; expected at least 1"),
        ("--temperature -1", "temperature = -1.0"),
        ("--context 0", "context = 0; expected at least 1"),
        ("--data digits", "digits"),
        ("--prompt caf\udce9", r"'caf\udce9'; expected UTF-8"),
    ],
)
def test_bad_input_is_one_line(flags, message, tmp_path):
    code, out, error = _run(flags, f"--workdir {tmp_path}/run")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert message in error
