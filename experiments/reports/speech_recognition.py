"""What experiments.speech_recognition shows of an evaluation."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from experiments.reports.sounds import spectrogram_grid
from jaxmodels.data.audio.reading import encode_wav
from jaxmodels.data.transcripts import TranscriptData
from jaxmodels.metrics.transcripts import NORMALISATION, Transcribed, rates, transcript_errors
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from jaxmodels.train.experiment import PerBatch

SCORES = {
    "wer": Score("lower", "", "Word errors: edits over the words that were said."),
    "cer": Score("lower", "", "Character errors: edits over the characters that were said."),
}
_LISTED = 50  # transcripts in the text file and in the record
_SHOWN = 6  # of these, that have their sound and spectrogram


def report(
    data: TranscriptData,
    predict: "PerBatch",
    spectrograms: "PerBatch",
    evaluation: Evaluation,
) -> Findings:
    """Makes the scores of transcripts, and after the last evaluation lists the worst, with sounds
    and spectrograms."""
    split = evaluation.split
    said = data.texts(split)
    outputs = evaluation.map(predict)
    heard = [
        data.coder.decode(tokens[:length].tolist())
        for tokens, length in zip(outputs["tokens"], outputs["length"].tolist())
    ]
    errors = transcript_errors(said, heard)
    scores = {"wer": errors.wer, "cer": errors.cer}
    worst = np.argsort(-rates(errors), kind="stable")
    record = {
        "step": evaluation.step,
        "scores": evaluation.scores | scores,
        "normalisation": NORMALISATION,
        "errors": errors.counts,
        "right": int(np.sum(errors.errors == 0)),
        "texts": len(said),
        "worst": _described(data.records(split).key, said, heard, errors, worst[:_LISTED]),
    }
    if evaluation.occasion == "due":
        return Findings(scores, record)
    shown = worst[:_SHOWN]
    title = f"{split}, step {evaluation.step}"
    lines = [
        f"{number:3}  {one['errors']} of {one['words']} wrong  {one['input']}\n"
        f"     said:  {one['said']}\n     heard: {one['heard']}"
        for number, one in enumerate(record["worst"], 1)
    ]
    head = f"{title}: word error rate {errors.wer:.4f}; the worst transcripts first\n\n"
    titles = [f"{said[row]}\n> {heard[row]}" for row in shown.tolist()]
    return Findings(
        scores,
        record,
        pictures={
            f"worst-{split}": partial(_drawn, evaluation, spectrograms, shown, titles, title)
        },
        texts={f"transcripts-{split}.txt": head + "\n".join(lines) + "\n"},
        sounds=_sounds(data, evaluation, shown),
    )


def _described(
    name: Callable[[int], str], said, heard, errors: Transcribed, rows: Int[np.ndarray, " row"]
) -> list[dict[str, Any]]:
    return [
        {
            "input": name(row),
            "said": said[row],
            "heard": heard[row],
            "errors": int(errors.errors[row]),
            "words": int(errors.words[row]),
        }
        for row in rows.tolist()
    ]


def _drawn(evaluation: Evaluation, spectrograms, rows, titles, title: str):
    return spectrogram_grid(evaluation.map(spectrograms, rows), titles, 2, title)


def _sounds(
    data: TranscriptData, evaluation: Evaluation, rows: Int[np.ndarray, " row"]
) -> dict[str, bytes | None]:
    """Writes the sounds of the worst transcripts, in the order of their list."""
    found = evaluation.examples(rows)
    names: dict[str, bytes | None] = {
        f"worst-{evaluation.split}-{number + 1}": None for number in range(_SHOWN)
    }
    for number, (sound, length) in enumerate(zip(found["sound"], found["length"].tolist()), 1):
        names[f"worst-{evaluation.split}-{number}"] = encode_wav(sound[:length], data.rate)
    return names
