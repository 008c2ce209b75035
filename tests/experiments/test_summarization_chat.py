"""An instruct model of a GGUF file summarizes with adapters, in the frame of its chat."""

import json
import shutil

import numpy as np
import pytest

from experiments.summarization import SummarizationConfig, build
from jaxmodels.data.documents import DocumentConfig, load_documents
from jaxmodels.data.text.chat import END, START
from jaxmodels.train import load_run, main
from tests.data.text.test_gguf_tokenizer import metadata  # noqa: F401
from tests.experiments.test_chat import file  # noqa: F401
from tests.experiments.test_finetuning import _params
from tests.experiments.test_summarization import flags_of, written

ROWS = [(f"the cat sat on mat {n}. the {n} dogs sat.", f"cat on mat {n}") for n in range(9)]


@pytest.mark.slow
def test_an_instruct_model_learns_summaries_by_adapters_alone(file, tmp_path):  # noqa: F811
    splits, workdir = {"train": ROWS[:6], "test": ROWS[6:]}, tmp_path / "run"
    data = written(tmp_path / "data", splits)
    flags = {"data": data, "workdir": workdir, "init_from": file, "mesh": "data=1"}
    flags |= {"validation_fraction": 0, "document_length": 24, "summary_length": 12}
    flags |= {
        "batch_size": 3,
        "eval_batch_size": 3,
        "eval_every": 2,
        "checkpoint_every": 2,
        "keep": 9,
    }
    flags |= {
        "schedule": "constant",
        "adapter_rank": 2,
        "adapter_on": "block_1/(query|value)/kernel",
    }
    assert main(SummarizationConfig, build, {}, flags_of({**flags, "steps": 2})) == 0
    frozen = [_params(workdir, step, "frozen") for step in (0, 2)]
    learned = [_params(workdir, step) for step in (0, 2)]
    assert all("block_1/" in name and not name.endswith("kernel") for name in learned[0])
    assert all(a.tobytes() == frozen[1][name].tobytes() for name, a in frozen[0].items())
    assert any(np.abs(a - learned[1][name]).max() > 0 for name, a in learned[0].items())

    # A row is a conversation, of which the answer counts.
    config = json.loads((workdir / "config.json").read_text())["config"]
    given = DocumentConfig(
        data=str(data),
        tokenizer=config["tokenizer"],
        document_length=24,
        summary_length=12,
        validation_fraction=0.0,
    )
    found = load_documents(given, kind="prompt")
    tokenizer, columns = found.rows.tokenizer, found.source("test").arrays
    start, end = (tokenizer.token_of(name) for name in (START, END))
    row, scored, prompt = (columns[name][0] for name in ("tokens", "scored", "prompt"))
    assert row[0] == start and (row[:prompt] == start).sum() == 3
    answer = row[1:][scored]
    assert answer[-1] == end and tokenizer.decode(answer[:-1]) == "cat on mat 6"
    assert tokenizer.decode(row[:prompt]).endswith("assistant\n")

    # The run goes on and predicts without the file.
    shutil.move(file, tmp_path / "elsewhere.gguf")
    assert main(SummarizationConfig, build, {}, flags_of({**flags, "steps": 4})) == 0
    lines = load_run(workdir).predict([ROWS[0][0]])
    assert isinstance(lines[0]["output"], str)
