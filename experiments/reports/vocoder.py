"""What experiments.vocoder shows of an evaluation."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.reports.sounds import drawn, in_file_name, plays, recorded
from jaxmodels.data.audio import SoundData
from jaxmodels.ops.spectral import Mel
from jaxmodels.ops.spectral_distance import resolutions_of
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from jaxmodels.train.experiment import PerBatch

SCORES = {
    "griffin_lim_mel_distance": Score("neither", "nats", "mel_distance of Griffin-Lim's sounds."),
    "griffin_lim_spectral_distance": Score(
        "neither", "", "spectral_distance of Griffin-Lim's sounds."
    ),
}
_SHOWN = 12  # recordings, of as many classes as possible
_HEARD = 3  # of these, that play with what both make of them


def report(
    data: SoundData,
    mel: Mel,
    phases: int,
    both: "PerBatch",
    rival: "PerBatch",
    evaluation: Evaluation,
) -> Findings | None:
    """Compares the vocoder with Griffin-Lim after the last evaluation, and shows what both make of
    some recordings.

    both: gives the sounds "vocoded" and "griffin-lim". rival: sums the distances of the latter.
    """
    if evaluation.occasion == "due":
        return None
    split, labels = evaluation.split, data.labels(evaluation.split)
    sums = evaluation.sum(rival)
    scores = {f"griffin_lim_{name}": mean.value() for name, mean in sums.items()}
    rows = np.sort(np.unique(labels, return_index=True)[1])[:_SHOWN]
    heard = {"recorded": recorded(evaluation, rows)}
    for kind, made in evaluation.map(both, rows).items():
        heard[kind] = [row[: len(own)] for row, own in zip(made, heard["recorded"])]
    title = f"{split}: vocoded, each over its recording"
    return Findings(
        scores=scores,
        record={"step": evaluation.step, **evaluation.scores, **scores, **_protocol(mel, phases)},
        pictures={"spectrograms": partial(drawn, heard["vocoded"], heard["recorded"], mel, title)},
        sounds={
            f"{split}-{in_file_name(data.class_names[labels[row]])}-{kind}": plays(sound, data.rate)
            for kind, sounds in heard.items()
            for row, sound in zip(rows[:_HEARD].tolist(), sounds)
        },
    )


def _protocol(mel: Mel, phases: int) -> dict[str, Any]:
    sizes = [f"{some.window}/{some.hop}" for some in resolutions_of(mel.transform)]
    return {
        "protocol": {
            "mel": f"{mel.bands} bands, frame {mel.transform.samples}, hop {mel.hop}, ln(power +"
            f" {mel.floor:g}); mean over the frames of all recordings",
            "spectral": f"Hann windows/hops {', '.join(sizes)}, powers of at least 1e-7; mean over"
            " recordings",
            "griffin_lim": f"{phases} iterations from phases of 0, momentum 0.99, on the powers"
            " that the same mel spectrograms allow (100 multiplicative updates)",
        }
    }
