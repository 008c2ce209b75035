"""What experiments.summarization shows of an evaluation: ROUGE beside that of extracts, and
summaries beside their references."""

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmodels.data.dataset import TRAIN, VALIDATION
from jaxmodels.data.documents import DocumentData, Documents
from jaxmodels.errors import InputError
from jaxmodels.metrics.extracts import Example, ExtractiveClassifier, lead, oracle
from jaxmodels.metrics.rouge import (
    KINDS,
    SIGNATURE,
    Rouge,
    count_unseen,
    mean_rouge,
    rouge_of_each,
)
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmodels.train.experiment import PerBatch

_WORST, _DUE = 50, 8  # summaries that are shown after the last step, and during training
ROUGES = ("ROUGE-1", "ROUGE-2", "ROUGE-L")
_MEANINGS = ("words", "pairs of words", "the longest common subsequence of words")
SCORES = {
    name: Score("higher", "", f"F-measure of {meaning}, 0 to 1, by rouge-score with its stemmer.")
    for name, meaning in zip(KINDS, _MEANINGS)
}


class Shown:
    """The documents of evaluations, and their extracts. The classifier that chooses sentences
    learns from the training split of the run; it is left out where that is absent, or where there
    is nothing to learn."""

    def __init__(self, data: DocumentData, train: Documents | None = None):
        self.data, self._train = data, train or data.splits.get(TRAIN)

    def of(self, other: DocumentData) -> "Shown":
        """Makes the same of other documents."""
        return Shown(other, self._train)

    def extracts(self, split: str) -> dict[str, Rouge]:
        """Scores the first sentences of each document, the sentence that a classifier chooses, and
        the best one."""
        examples = _examples(self.data.splits[split])
        texts = {
            "first sentence": [lead(one.sentences, 1) for one in examples],
            "first three sentences": [lead(one.sentences, 3) for one in examples],
        }
        if classifier := self._learned[0]:
            chosen = classifier.choose([example.sentences for example in examples])
            texts["extractive classifier"] = [
                one.sentences[place] for one, place in zip(examples, chosen.tolist())
            ]
        texts["best sentence (oracle)"] = [one.sentences[oracle(one)] for one in examples]
        references = [one.references for one in examples]
        return {name: mean_rouge(rouge_of_each(some, references)) for name, some in texts.items()}

    def unseen(self, split: str) -> list[str]:
        """Says of how many documents of a split ROUGE sees no reference, if of any."""
        references = self.data.splits[split].summaries
        count = count_unseen(references)
        told = (
            f"{count:,} of {len(references):,} documents in {split} have no reference with a letter"
            " a-z or a digit, and ROUGE sees no others: any summary of them scores 0"
        )
        return [told] if count else []

    def notes(self, split: str) -> list[str]:
        """Says what the scores of a split and its extracts lack."""
        reason = self._learned[1]
        lacking = [f"there is no extractive classifier: {reason}"] if reason else []
        return self.unseen(split) + lacking

    @cached_property
    def _learned(self) -> tuple[ExtractiveClassifier | None, str]:
        """The classifier, or why there is none."""
        if self._train is None:
            return None, "the training documents are absent"
        try:
            return ExtractiveClassifier(_examples(self._train)), ""
        except InputError as error:
            return None, str(error)


def _examples(documents: Documents) -> list[Example]:
    return [Example(*pair) for pair in zip(documents.sentences, documents.summaries)]


def report(
    shown: Shown, write: "PerBatch", writing: Any, evaluation: Evaluation
) -> Findings | None:
    """Writes the summaries of a split and scores them: of its first documents during training, and
    then of the validation split alone; of all after the last step, beside extracts."""
    split, is_due = evaluation.split, evaluation.occasion == "due"
    if is_due and split != VALIDATION:
        return None
    documents = shown.data.splits[split]
    count = min(writing.written, len(documents.keys)) if is_due else len(documents.keys)
    rows = [np.arange(count)] if is_due else []
    found = evaluation.map(write, *rows)
    texts = [
        shown.data.rows.text(tokens[:length], document)
        for tokens, length, document in zip(found["tokens"], found["length"], documents.texts)
    ]
    each = rouge_of_each(texts, documents.summaries[:count])
    ours = mean_rouge(each)._asdict()
    worst = _worst(documents, texts, each)
    if is_due:
        name = f"step-{evaluation.step:08d}.txt"
        return Findings(ours, texts={name: _told(worst[:_DUE])})
    table = {"this model": mean_rouge(each), **shown.extracts(split)}
    notes = shown.notes(split)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    record = {
        "step": evaluation.step,
        "scores": evaluation.scores | ours,
        "protocol": {
            "rouge": SIGNATURE,
            **writing.options(),
            "documents": count,
        },
        "table": {name: scores._asdict() for name, scores in table.items()},
        "notes": notes,
        "worst": worst,
    }
    head = f"{split}, step {evaluation.step}, {count:,} documents\n\n{_tabulated(table)}"
    head += "".join(f"\n\nNote: {note}." for note in notes)
    text = f"{head}\n\nThe worst summaries first.\n\n{_told(worst)}"
    pictures = {f"rouge-{split}": partial(rouge_figure, table, f"{split}, step {evaluation.step}")}
    return Findings(ours, record, pictures, {f"summaries-{split}.txt": text})


def _worst(
    documents: Documents, texts: Sequence[str], scores: Sequence[Rouge]
) -> list[dict[str, Any]]:
    """Lists summaries with their references, those of the smallest sum of scores first."""
    order = np.argsort([sum(one) for one in scores], kind="stable")[:_WORST]
    return [
        {
            "input": documents.keys[row],
            "rouge1": scores[row].rouge1,
            "output": texts[row],
            "references": list(documents.summaries[row]),
        }
        for row in order.tolist()
    ]


def _told(worst: Sequence[Mapping[str, Any]]) -> str:
    blocks = []
    for one in worst:
        lines = [f"{one['input']}  ROUGE-1 {one['rouge1']:.3f}", f"  wrote: {one['output']}"]
        lines += [f"  meant: {reference}" for reference in one["references"]]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _tabulated(table: Mapping[str, Rouge]) -> str:
    wide = max(map(len, table))
    lines = [" " * wide + "".join(f"  {name}" for name in ROUGES)]
    for name, scores in table.items():
        numbers = "  ".join(f"{100 * score:7.2f}" for score in scores)
        lines.append(f"{name:{wide}}  {numbers}")
    return "\n".join(lines)


def rouge_figure(table: Mapping[str, Rouge], title: str) -> "Figure":
    """Draws the scores of a table as bars, in groups of one score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.7 + 0.28 * len(table) * len(KINDS)), layout="constrained")
    panel = figure.subplots()
    high = 0.8 / len(table)
    for number, (name, scores) in enumerate(table.items()):
        places = [kind + number * high for kind in range(len(KINDS))]
        bars = panel.barh(places, [100 * score for score in scores], 0.9 * high, label=name)
        panel.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
    panel.set_yticks([kind + 0.4 - high / 2 for kind in range(len(KINDS))], ROUGES)
    panel.invert_yaxis()
    panel.margins(x=0.1)
    panel.set_xlabel("F-measure, percent")
    panel.legend(fontsize=7)
    panel.set_title(title, fontsize=9)
    return figure
