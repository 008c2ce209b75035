"""What experiments.token_classification shows of an evaluation, and its lines of predictions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmodels.data.tagged import TaggedData, tags_of
from jaxmodels.metrics.entities import EntityScores, entities_of, entity_scores
from jaxmodels.objectives.tagging import SCORES as OF_TOKENS
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from jaxmodels.train.experiment import PerBatch

SCORES = {
    **OF_TOKENS,
    "precision": Score("higher", "", "Share of entities told whose kind and words are right."),
    "recall": Score("higher", "", "Share of entities that are told with their kind and words."),
    "f1": Score("higher", "", "Harmonic mean of precision and recall of entities."),
}
_SHOWN = 50  # sentences with mistakes


def report(data: TaggedData, predict: "PerBatch", evaluation: Evaluation) -> Findings:
    """Scores entities, with words without a token as O; after the last evaluation also by kind,
    with sentences that are tagged wrongly."""
    some = data.splits[evaluation.split]
    predicted = evaluation.map(predict)["tags"]
    told = [
        tags_of(row, pieces.words, len(words), data.tags)
        for row, pieces, words in zip(predicted, data.pieces(evaluation.split), some.words)
    ]
    true = [[data.tags[tag] for tag in tags] for tags in some.tags]
    scores = entity_scores(true, told)
    own = {"precision": scores.all.precision, "recall": scores.all.recall, "f1": scores.all.f1}
    if evaluation.occasion != "last":
        return Findings(scores=own)
    wrong = [row for row in range(len(true)) if true[row] != told[row]]
    title = f"{evaluation.split}, step {evaluation.step}: {len(wrong):,} of {len(true):,} sentences"
    lines = [_compared(some.words[row], true[row], told[row]) for row in wrong[:_SHOWN]]
    return Findings(
        scores=own,
        record={"step": evaluation.step, **evaluation.scores, **own, **_by_kind(scores)},
        texts={
            f"mistakes-{evaluation.split}.txt": f"{title} have a wrong tag: [true > told]\n\n"
            + "\n".join(lines or ["none: all are right"])
            + "\n"
        },
    )


def _by_kind(scores: EntityScores) -> dict[str, Any]:
    return {
        "entities": scores.all.support,
        "per_kind": {kind: found._asdict() for kind, found in scores.per_kind.items()},
    }


def _compared(words: Sequence[str], true: Sequence[str], told: Sequence[str]) -> str:
    """Writes a sentence with both tags behind each word that has a wrong one."""
    return " ".join(
        word if ours == theirs else f"{word} [{ours} > {theirs}]"
        for word, ours, theirs in zip(words, true, told)
    )


def prediction_line(names: Sequence[str], outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Makes the tags of a sentence's words, and the entities in it by the numbers of their first
    word and of the word behind their last."""
    tags = tags_of(outputs["tags"], outputs["word"], int(outputs["words"]), names)
    return {"tags": tags, "entities": [entity._asdict() for entity in entities_of(tags)]}
