"""Scores a text by published weights, by ours and by transformers, and says how far they differ.

    python -m experiments.benchmarks.perplexity --init-from FILE.gguf --data wikitext2 \\
        --data-dir DIR --context 512 --stride 512

The flags are those of experiments.language_model. We read the weights as they are published;
transformers (extra `parity`) reads what --mode export writes of them. Both score every token of the
test split once, in the same windows (--context, --stride). Needs some minutes for each.
"""

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.language_model import LanguageModelConfig, build
from experiments.presets.language_model import PRESETS
from jaxmodels.commands import exit_code_of
from jaxmodels.train.config import configure
from jaxmodels.train.exporting import export
from jaxmodels.train.implied import parse_with_implied
from jaxmodels.train.outputs import restored_of
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.start import with_start
from jaxmodels.train.trainer import Trainer

_BATCH = 4  # windows that transformers scores at once


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores by both and prints what they find; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    config = parse_with_implied(LanguageModelConfig, PRESETS, given, "")
    experiment = with_start(build(config), config, None)
    tested = experiment._replace(evaluation={"test": experiment.evaluation["test"]})
    with tempfile.TemporaryDirectory(prefix="perplexity-") as name:
        folder = RunFolder(Path(name) / "run")
        began = time.perf_counter()
        trainer = Trainer(tested, config, folder)
        step, state = restored_of(trainer)
        scores, _ = trainer.score("test", state, step, "asked", {})
        _print("jaxmodels", scores["loss"], began)
        print("  " + " ".join(f"{name} {value:.6g}" for name, value in scores.items()))
        published = Path(name) / "published"
        export(tested, configure(config, output=str(published)), folder)
        began = time.perf_counter()
        column = _tokens(config)
        theirs = _scored_by_transformers(published, column, config.data.context, config.data.stride)
        _print("transformers", theirs, began)
    apart = abs(math.exp(scores["loss"] - theirs) - 1)
    print(f"the perplexities of a token differ by a factor of 1 + {apart:.1e}")
    return 0


def _print(name: str, loss: float, began: float) -> None:
    seconds = time.perf_counter() - began
    print(f"{name}: {loss:.6f} nats, {math.exp(loss):.4f} per token, {seconds:.0f} s", flush=True)


def _tokens(config: LanguageModelConfig) -> np.ndarray:
    from jaxmodels.data.text import load_text

    column = load_text(config.data, None).columns["test"]
    return np.asarray(column.tokens, np.int64)


def _scored_by_transformers(folder: Path, tokens: np.ndarray, context: int, stride: int) -> float:
    """Returns the mean nats of all tokens but the first, each in the first window that has it as a
    target. Windows begin at multiples of the stride; the last one ends with the text."""
    # The torchvision on PyPI does not match a torch for CPUs alone.
    sys.modules.setdefault("torchvision", None)  # pyright: ignore
    import torch
    from transformers import AutoModelForCausalLM

    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    last = max(0, len(tokens) - 1 - context)
    starts = [*range(0, last, stride), last]
    total, scored = 0.0, 0
    for at in range(0, len(starts), _BATCH):
        rows = starts[at : at + _BATCH]
        windows = torch.tensor(np.stack([tokens[row : row + context + 1] for row in rows]))
        with torch.inference_mode():
            logits = network(windows[:, :-1]).logits
            nats = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="none"
            )
        for row, losses in zip(rows, nats.double().numpy().reshape(len(rows), -1), strict=True):
            fresh = losses[max(0, scored - row) :]
            total, scored = total + float(fresh.sum()), scored + len(fresh)
    assert scored == len(tokens) - 1
    return total / scored


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
