"""ROUGE of extracts on the documents of experiments.summarization, and of summaries in a file.

    python -m experiments.benchmarks.summarization_extracts --data scitldr --data-dir DIR \\
        --skip-bad-records 4
    python -m experiments.benchmarks.summarization_extracts --data scitldr --data-dir DIR \\
        --skip-bad-records 4 --documents test.txt                 # writes a document a line
    python -m experiments.summarization --workdir RUN --mode predict --input test.txt \\
        --output test.jsonl
    python -m experiments.benchmarks.summarization_extracts --data scitldr --data-dir DIR \\
        --skip-bad-records 4 --summaries test.jsonl               # of the first lines, if fewer

Beside the mean stands its standard error over documents.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from jaxmodels.data.dataset import TEST, TRAIN
from jaxmodels.data.documents import DocumentConfig, load_documents
from jaxmodels.errors import InputError
from jaxmodels.metrics.extracts import Example, ExtractiveClassifier, lead, oracle
from jaxmodels.metrics.rouge import rouge_of_each


@dataclass(frozen=True, kw_only=True)
class ExtractsConfig:
    """Which documents, and what is scored."""

    data: tyro.conf.OmitArgPrefixes[DocumentConfig] = DocumentConfig()
    split: str = TEST
    """The split that is scored."""
    summaries: Path | None = None
    """Lines of --mode predict to score too."""
    documents: Path | None = None
    """Where to write the split's documents, a line each; nothing is scored then."""


def main(config: ExtractsConfig) -> None:
    """Prints a line for each kind of extract."""
    data = load_documents(config.data)
    documents = data.splits[config.split]
    if config.documents:
        config.documents.write_text("\n".join(documents.texts) + "\n", "utf-8")
        return
    examples, trained = (
        [Example(*pair) for pair in zip(some.sentences, some.summaries)]
        for some in (documents, data.splits[TRAIN])
    )
    written = []
    if config.summaries:
        lines = config.summaries.read_text("utf-8").splitlines()
        written = [json.loads(line)["output"] for line in lines]
        examples = examples[: len(written)]
    chosen = ExtractiveClassifier(trained).choose([one.sentences for one in examples])
    texts = {
        "first sentence": [lead(one.sentences, 1) for one in examples],
        "first three sentences": [lead(one.sentences, 3) for one in examples],
        "extractive classifier": [
            one.sentences[place] for one, place in zip(examples, chosen.tolist())
        ],
        "best sentence (oracle)": [one.sentences[oracle(one)] for one in examples],
    }
    if written:
        texts[str(config.summaries)] = written
    print(f"{data.name}/{config.split}: {len(examples):,} documents")
    for name, some in texts.items():
        each = np.array(rouge_of_each(some, [one.references for one in examples]))
        errors = each.std(0, ddof=1) / np.sqrt(len(each))
        told = "  ".join(f"{100 * m:5.2f}±{100 * e:.2f}" for m, e in zip(each.mean(0), errors))
        print(f"{name:24}{told}", flush=True)


if __name__ == "__main__":
    try:
        main(tyro.cli(ExtractsConfig))
    except InputError as error:
        sys.exit(f"error: {error}")
