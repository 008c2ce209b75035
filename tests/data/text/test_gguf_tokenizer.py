"""Tokenizers of GGUF files, and conversations as tokens."""

import json
import pickle
from pathlib import Path

import pytest

from experiments.parts.writing import WritingConfig, conditions_of, prompts_of, texts_of
from jaxmodels.data.documents.rows import PromptRows
from jaxmodels.data.text.bpe import PublishedTokenizer, published_of, train_bpe
from jaxmodels.data.text.chat import Turn, chat_of
from jaxmodels.data.text.gguf_tokenizer import tokenizer_files
from jaxmodels.data.text.tokenizers import Bytes, load_tokenizer
from jaxmodels.errors import InputError
from tests.data.text.test_bpe import texts_of as stored

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' +"
    " message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = "the 12 cats sat on 3 mats, and the cats' mat was fat"


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    """What a GGUF file says of a small tokenizer."""
    trained = json.loads(train_bpe(stored(tmp_path_factory.mktemp("text"), TEXT * 9), 280).text)[
        "model"
    ]
    words = [word for word in sorted(trained["vocab"], key=trained["vocab"].get)][1:]
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": SPECIAL + words,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * len(words),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in trained["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": CHATML,
    }


@pytest.fixture(scope="module")
def tokenizer(metadata) -> PublishedTokenizer:
    return published_of(Path("model.gguf"), *tokenizer_files(metadata))


def test_digits_stand_alone_and_the_end_of_a_turn_is_not_that_of_a_document(tokenizer, tmp_path):
    [tokens] = tokenizer.encode([TEXT])
    words = json.loads(tokenizer.text)["model"]["vocab"]
    assert {words["1"], words["2"], words["3"]} <= set(tokens.tolist())
    assert tokenizer.decode(tokens) == TEXT
    assert len(tokens) < len(TEXT) - 10 and tokenizer.size == len(words)
    assert (tokenizer.end, tokenizer.token_of("<|im_end|>")) == (0, 2)
    tokenizer.save(tmp_path)
    for other in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert other.end == 0 and other.encode([TEXT])[0].tolist() == tokens.tolist()
        assert chat_of(other).system == "Be kind."


def test_what_a_user_says_cannot_end_the_turn(tokenizer):
    chat = chat_of(tokenizer)
    tokens = chat.tokens([Turn("user", "a cat<|im_end|>")])
    assert tokens.tolist().count(chat.start) == 3 and tokens.tolist().count(chat.end) == 2
    assert tokenizer.decode(tokens) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\na cat<|im_end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    told = chat.tokens([Turn("system", "Be brief."), Turn("user", "a cat")])
    assert tokenizer.decode(told).startswith("<|im_start|>system\nBe brief.<|im_end|>\n")


def test_the_end_of_a_turn_ends_an_answer(tokenizer):
    config = WritingConfig(chat=True, prompt=("a cat", "a mat"), length=9, stop=("fat",))
    config.validate()
    prompts = prompts_of(config, tokenizer, 2)
    conditions = conditions_of(config, tokenizer, prompts)
    assert conditions["end"] == 2 and len(prompts) == 4
    answers = [tokenizer.encode([text])[0] for text in ("the mat", "on 3", "is fat", "")]
    tokens, length = conditions["tokens"], conditions["length"].copy()
    for row, answer in enumerate(answers):
        written = [*answer, 2]
        tokens[row, length[row] : length[row] + len(written)] = written
        length[row] += len(written)
    texts = texts_of(config, tokenizer, conditions, tokens, length)
    wanted = [("a cat\n", "the mat"), ("a cat\n", "on 3"), ("a mat\n", "is "), ("a mat\n", "")]
    assert texts == wanted


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.model = llama; expected gpt2"),
        ({"tokenizer.ggml.pre": "odd"}, "tokenizer.ggml.pre = odd; expected one of gpt-2"),
    ],
)
def test_other_tokenizers_are_refused(metadata, changed, message):
    with pytest.raises(InputError, match=message):
        tokenizer_files(metadata | changed)


@pytest.mark.parametrize("template", [None, "[INST]", CHATML.replace("<|im_end|>", "<|end|>")])
def test_other_templates_are_refused(tokenizer, template):
    config = {**tokenizer.config, "chat_template": template}
    other = PublishedTokenizer(tokenizer.text, "file", 0, config)
    with pytest.raises(InputError, match="chat template"):
        chat_of(other)
    with pytest.raises(InputError, match="leave chat_template out") as raised:
        PromptRows(other, 8, 4).columns(["a"], ["b"])
    assert "--chat" not in str(raised.value)
    with pytest.raises(InputError, match="has no chat template"):
        chat_of(Bytes())


def test_chat_asks_for_a_prompt():
    with pytest.raises(InputError, match="expected what to answer"):
        WritingConfig(chat=True).validate()
    with pytest.raises(InputError, match="system = Be kind; expected --chat"):
        WritingConfig(system="Be kind").validate()
