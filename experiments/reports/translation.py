"""What experiments.translation shows of an evaluation."""

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxmodels.data.pairs import PairData
from jaxmodels.errors import InputError
from jaxmodels.metrics.translation import sentence_chrf, translation_scores
from jaxmodels.objectives.sequence_to_sequence import PADDING, SequenceToSequence
from jaxmodels.pictures import shortened
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    import matplotlib.figure

SCORES = {
    "bleu": Score("higher", "", "Corpus BLEU of sacrebleu, 0 to 100; its signature is recorded."),
    "chrf": Score("higher", "", "chrF2 of sacrebleu, 0 to 100."),
    "exact_match": Score("higher", "", "Share of translations that are their reference."),
}
_WORST, _OTHERS = 30, 10  # examples that are shown, by chrF
_SEARCH = ("beams", "length_penalty", "stop")  # of the search, for the record
_WORDS = 24  # of the text whose attention is drawn


def require_attention(
    data: PairData, objective: SequenceToSequence, attend: str, splits: Sequence[str]
) -> None:
    """Requires that the attention of a source can be drawn, if one is chosen.

    Raises:
      InputError: it cannot.
    """
    if not attend or not splits:
        return
    if not hasattr(objective.model, "cross_weights"):
        raise InputError(f"attend = {attend}; the model shows no attention: expected it left out")
    sources = [source for split in splits for source in data.texts(split)[0]]
    if attend not in sources:
        raise InputError(
            f"attend = {attend}; it is no source of {' or '.join(splits)}: expected one, as"
            f" '{shortened(sources[0], 60)}'"
        )


def report(
    data: PairData,
    objective: SequenceToSequence,
    when: str,
    attend: str,
    evaluation: Evaluation,
) -> Findings | None:
    """Scores the translations of all sources; after the last evaluation, keeps them, shows the
    worst and some others, and draws what a sentence attends to.

    when: "all": evaluations that are due during training are scored too.
    attend: the source whose attention is drawn, in a split that has it; "": the longest that fits.
    """
    if evaluation.occasion == "due" and when == "last":
        return None
    written = evaluation.map(objective.translate)["tokens"]
    columns = evaluation.examples(np.arange(len(written)))
    sources, references = data.texts(evaluation.split)
    outputs = [data.rows.text(tokens) for tokens in written]
    found = translation_scores(outputs, [references])
    scores = {name: getattr(found, name) for name in SCORES}
    if evaluation.occasion == "due":
        return Findings(scores)
    examples = list(zip(sources, outputs, references))
    # As they are stored; an evaluation has them by length.
    stored = [examples[row] for row in np.argsort(data.places(evaluation.split))]
    names = ("input", "output", "reference")
    lines = [json.dumps(dict(zip(names, one)), ensure_ascii=False) for one in stored]
    shown = worst_first(stored)
    record = {
        "step": evaluation.step,
        "scores": evaluation.scores | scores,
        "signatures": found.signatures,
        "search": {name: getattr(objective, name) for name in _SEARCH},
        "worst": [dict(zip((*names, "chrf"), one)) for one in shown[:_WORST]],
    }
    split = evaluation.split
    title = f"{split}, step {evaluation.step}"
    return Findings(
        scores,
        record,
        pictures=_attention(data, objective, evaluation, columns, title, attend),
        texts={
            f"examples-{split}.txt": _told(shown, f"{title}: by chrF of the sentence, worst first"),
            f"translations-{split}.jsonl": "\n".join(lines) + "\n",
        },
    )


def worst_first(examples: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str, float]]:
    """Lists the (source, output, reference) that differ most, then some evenly spread others, with
    the chrF of each."""
    scored = [(*one, sentence_chrf(one[1], one[2])) for one in examples]
    ordered = sorted(scored, key=lambda one: one[3])
    rest = ordered[_WORST:]
    others = [rest[len(rest) * place // _OTHERS] for place in range(min(_OTHERS, len(rest)))]
    return ordered[:_WORST] + others


def _told(examples: Sequence[tuple[str, str, str, float]], title: str) -> str:
    blocks = [
        f"{chrf:5.1f}  source     {source}\n{'':7}output     {output}\n{'':7}reference  {reference}"
        for source, output, reference, chrf in examples
    ]
    return "\n\n".join([title, *blocks]) + "\n"


def _attention(
    data: PairData,
    objective: SequenceToSequence,
    evaluation: Evaluation,
    columns: Any,
    title: str,
    attend: str,
) -> dict[str, Any]:
    """Makes the picture of the attention of a source, or of the longest that fits."""
    if not hasattr(objective.model, "cross_weights"):
        return {}
    counts = np.stack([(columns[side] != PADDING).sum(axis=1) for side in ("source", "target")])
    fitting = np.flatnonzero((counts <= _WORDS).all(axis=0))
    row = int(fitting[-1] if len(fitting) else counts.sum(axis=0).argmin())
    sources = data.texts(evaluation.split)[0]
    row = sources.index(attend) if attend in sources else row
    weights = evaluation.map(objective.attend, np.array([row]))[0]
    source, target = (
        [data.tokenizer.decode([int(token)]) for token in columns[side][row][: counts[place, row]]]
        for place, side in enumerate(("source", "target"))
    )
    # Each place of the target looks for the token after it, and none comes after the last.
    weights = weights.mean(axis=1)[:, : len(target) - 1, : len(source)]
    names = [text or "end" for text in source], [text or "end" for text in target[1:]]
    return {f"attention-{evaluation.split}": partial(attention_figure, weights, *names, title)}


def attention_figure(
    weights: Float[np.ndarray, "layer target source"],
    source: Sequence[str],
    target: Sequence[str],
    title: str,
) -> "matplotlib.figure.Figure":
    """Draws how each token of a target attends to those of its source, a panel for each block of
    the decoder, as the mean over heads."""
    from matplotlib.figure import Figure

    layers, height, width = weights.shape
    size = 1.2 + 0.2 * width, 1.2 + 0.2 * height
    figure = Figure(figsize=(max(3.0, layers * size[0]), size[1]), layout="constrained")
    panels = figure.subplots(1, layers, squeeze=False)[0]
    for number, (panel, of_layer) in enumerate(zip(panels, weights)):
        panel.imshow(of_layer, cmap="Blues", vmin=0, vmax=1)
        panel.set_xticks(range(width), [shortened(t, 14) for t in source], rotation=90, fontsize=7)
        panel.set_yticks(range(height), [shortened(t, 14) for t in target], fontsize=7)
        panel.set_title(f"block {number + 1} of the decoder", fontsize=8)
    figure.suptitle(f"{title}: attention of the target (rows) to the source", fontsize=9)
    return figure
