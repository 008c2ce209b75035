"""What experiments.speech_commands shows of an evaluation."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from experiments.parts.class_predictions import probabilities_of
from experiments.reports.sounds import in_file_name, spectrogram_grid
from jaxmodels.data.audio import SoundData, encode_wav
from jaxmodels.data.dataset import TRAIN
from jaxmodels.metrics import classification_report, expected_calibration_error
from jaxmodels.pictures import confusion_figure
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from jaxmodels.train.experiment import PerBatch

_WORST = 50  # mistakes that are listed
_SHOWN = 24  # spectrograms of mistakes
_HEARD = 8  # mistakes that play
_CLASSES = 12  # classes of which a sound plays


def report(
    data: SoundData, predict: "PerBatch", spectrograms: "PerBatch", evaluation: Evaluation
) -> Findings | None:
    """Makes scores per class, a confusion matrix, spectrograms, and sounds of the worst mistakes
    and of each class, after the last evaluation."""
    if evaluation.occasion != "last":
        return None
    split, sums, names = evaluation.split, evaluation.sums, data.class_names
    probabilities = probabilities_of(evaluation.map(predict)["logits"])
    labels = data.labels(split)
    wrong = worst(labels, probabilities)
    counts = np.bincount(data.labels(TRAIN), minlength=len(names)).tolist()
    mistakes = _described(data, split, wrong[:_WORST], probabilities)
    record = {
        "step": evaluation.step,
        "loss": sums.loss.value(),
        "top5": sums.top5.value(),
        "ece": expected_calibration_error(sums.calibration),
        **classification_report(sums.confusion, names),
        "trained_on": dict(zip(names, counts)),
        "worst": mistakes,
    }
    if speakers := _by_speaker(data, split, labels, probabilities):
        record["accuracy_of_speakers"] = speakers
    examples = _one_of_each(labels, probabilities)
    title = f"{split}, step {evaluation.step}"
    shown = wrong[:_SHOWN]
    above = [f"{one['true']} > {one['predicted']}\n{one['confidence']:.2f}" for one in mistakes]
    draw = partial(_drawn, evaluation, spectrograms)
    pictures = {
        "confusion": partial(confusion_figure, sums.confusion, names, title),
        "spectrograms": draw(examples, [names[labels[row]] for row in examples], title),
        "misclassified": draw(
            shown, above[:_SHOWN], f"{title}: {len(wrong)} of {len(labels)} wrong"
        ),
    }
    lines = [
        f"{number:3}  {one['true']} > {one['predicted']} {one['confidence']:.3f}  {one['input']}"
        for number, one in enumerate(mistakes, 1)
    ] or ["none: all are right"]
    head = f"{title}: number, true > predicted, confidence, sound; the worst mistakes first\n\n"
    return Findings(
        record=record,
        pictures=pictures,
        texts={f"mistakes-{split}.txt": head + "\n".join(lines) + "\n"},
        sounds=_sounds(data, evaluation, wrong, examples),
    )


def worst(
    labels: Int[np.ndarray, " sound"], probabilities: Float[np.ndarray, "sound classes"]
) -> Int[np.ndarray, " mistake"]:
    """Finds the mistakes, those whose true class is the least likely first."""
    true = probabilities[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[np.argsort(true[wrong], kind="stable")]


def _described(data: SoundData, split: str, rows, probabilities) -> list[dict[str, Any]]:
    key, labels, names = data.records(split).key, data.labels(split), data.class_names
    return [
        {
            "input": key(row),
            "true": names[labels[row]],
            "predicted": names[int(probabilities[row].argmax())],
            "confidence": float(probabilities[row].max()),
        }
        for row in rows.tolist()
    ]


def _by_speaker(data: SoundData, split: str, labels, probabilities) -> dict[str, float]:
    """Computes the accuracy for each speaker whose name is known."""
    speakers = data.known(split, "speaker")
    right = probabilities.argmax(1) == labels
    known = sorted({name for name in speakers.tolist() if name})
    return {name.decode(): float(right[speakers == name].mean()) for name in known[:200]}


def _one_of_each(labels, probabilities) -> Int[np.ndarray, " example"]:
    """Finds the first sound of each class that is classified right; of some classes, if many."""
    right = np.flatnonzero(probabilities.argmax(1) == labels)
    _, first = np.unique(labels[right], return_index=True)
    return right[first][:_CLASSES]


def _drawn(evaluation: Evaluation, spectrograms, rows, titles, title: str):
    """Makes a function that draws spectrograms; None without any."""
    if not len(rows):
        return None
    return partial(spectrogram_grid, evaluation.map(spectrograms, rows), titles, 6, title)


def _sounds(data: SoundData, evaluation: Evaluation, wrong, examples) -> dict[str, bytes | None]:
    """Writes the sounds that play: of mistakes, in the order of their list, and of classes."""
    split, names, labels = evaluation.split, data.class_names, data.labels(evaluation.split)
    rows = {f"mistake-{split}-{number + 1}": None for number in range(_HEARD)}
    rows |= {f"mistake-{split}-{n + 1}": row for n, row in enumerate(wrong[:_HEARD].tolist())}
    for row in examples.tolist():
        label = int(labels[row])
        # Names of classes may agree in the letters that may stand there.
        name = f"class-{split}-{in_file_name(names[label]) or label}"
        rows[f"{name}-class{label}" if name in rows else name] = row
    chosen = [row for row in rows.values() if row is not None]
    found = evaluation.examples(np.array(chosen, np.int64))["sound"] if chosen else []
    samples = dict(zip(chosen, np.asarray(found)))
    return {
        name: None if row is None else encode_wav(samples[row], data.rate)
        for name, row in rows.items()
    }
