"""A GGUF file of an instruct model answers, scores lines, and is trained on, end to end."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from experiments import language_model
from jaxmodels.models.llama import LlamaConfig
from jaxmodels.train import main
from tests.data.text.test_gguf_tokenizer import CHATML, metadata  # noqa: F401
from tests.models.test_llama_names import SIZES, shapes_of, write_gguf

COMMON = (
    "--mesh data=1 --batch-size 2 --eval-batch-size 2 --context 16 --dropout 0 --schedule constant"
)


def run(*arguments):
    arguments = [*COMMON.split(), *map(str, arguments)]
    config = language_model.LanguageModelConfig
    return main(config, language_model.build, arguments=arguments)


@pytest.fixture
def file(tmp_path, metadata):  # noqa: F811
    said = {name.removeprefix("tokenizer.ggml."): value for name, value in metadata.items()}
    shapes = shapes_of(LlamaConfig(**SIZES, tied=True), len(said["tokens"]))
    generator = np.random.default_rng(0)
    draw = lambda leaf: generator.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    params = flatten_dict({"params": jax.tree.map(draw, shapes)}, sep="/")
    facts = [
        ("add_tokenizer_model", said["model"]),
        ("add_tokenizer_pre", said["pre"]),
        ("add_token_list", said["tokens"]),
        ("add_token_types", said["token_type"]),
        ("add_token_merges", said["merges"]),
        ("add_bos_token_id", 1),
        ("add_eos_token_id", 2),
        ("add_chat_template", CHATML),
    ]
    write_gguf(tmp_path / "toy.gguf", params, True, facts)
    return tmp_path / "toy.gguf"


@pytest.mark.slow
def test_an_instruct_model_answers_and_learns_without_its_file(file, tmp_path, capsys):
    text = tmp_path / "book.txt"
    text.write_text("the 12 cats sat on 3 mats, and the cats' mat was fat\n" * 60)
    given = ["--data", text, "--init-from", file]
    answers = tmp_path / "answers.jsonl"
    sample = ["--mode", "sample", "--chat", "--prompt", "a cat", "a mat", "--length", "6"]
    assert run(*given, *sample, "--count", "1", "--output", answers) == 0, capsys.readouterr().err
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["a cat\n", "a mat\n"]
    assert run(*given, "--chat", "--workdir", tmp_path / "run") == 2
    assert "mode = train; --chat answers a prompt: expected" in capsys.readouterr().err
    trained = [*given, "--workdir", tmp_path / "run", "--eval-every", "9"]
    assert run(*trained, "--steps", "1") == 0
    shutil.move(file, tmp_path / "elsewhere.gguf")
    assert run(*trained, "--steps", "2") == 0
    folder = tmp_path / "folder"
    export = ["--mode", "export", "--format", "safetensors", "--output", folder]
    assert run(*trained, "--steps", "2", *export) == 0, capsys.readouterr().err
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    kept = json.loads((folder / "tokenizer_config.json").read_text())
    assert (kept["eos_token"], kept["chat_template"]) == ("<|im_end|>", CHATML)
    # What was exported answers too.
    given = ["--data", text, "--init-from", folder]
    assert run(*given, *sample, "--count", "1", "--output", tmp_path / "more.jsonl") == 0
