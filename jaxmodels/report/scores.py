"""Which of two scores is better, guessed from what the score is called."""

import re

# fmt: off
_LOWER = {
    "loss", "nll", "frechet", "fid", "kid", "ece", "kl", "error", "errors", "perplexity", "bits",
    "bpd", "reconstruction", "collapsed", "distance", "mse", "rmse", "mae", "wer", "cer",
}
# fmt: on


def lower_is_better(score: str) -> bool:
    """Whether less of a score is better: of losses, distances and errors; of the rest more is."""
    return bool(_LOWER.intersection(re.split(r"[^a-z0-9]+", score.lower())))


def direction(lower: bool) -> str:
    """The direction in words."""
    return "lower is better" if lower else "higher is better"
