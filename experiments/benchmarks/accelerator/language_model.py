"""Times training steps of language models: tokens per second, and the share of the peak (MFU).

A step's floating-point operations are 6 per token for each number of a kernel, the head's among
them and the embeddings' not, and 6 * layers * context * width per token for attention, of which a
causal model needs half of what a full one does: 2 products of 2 * context * width operations, three
times (Chowdhery et al. 2022, PaLM, appendix B, halved). What is computed again does not count.
"""

from collections.abc import Callable
from typing import Any

from experiments.benchmarks.accelerator.results import Results
from experiments.benchmarks.accelerator.setting import Setting
from experiments.benchmarks.accelerator.steps import Comparison, compare
from experiments.benchmarks.alternate import Timing
from experiments.benchmarks.language_model_peers import task_of

_MODULE = "language_model_peers"
_OURS = {
    "ours": "jaxmodels",
    "ours_unrolled": "jaxmodels, layers written out, wide blocks of the head",
}
COMPARISONS = (
    Comparison(
        "GPT-2 124M, context 1,024, AdamW, batch",
        _MODULE,
        ("124m:32", "124m:16", "124m:8"),
        "tiny",
        _OURS | {"torch_eager": "PyTorch eager", "torch_compiled": "torch.compile"},
        "bfloat16",
    ),
    Comparison(
        "train_gpt_simple, context 1,024, Muon, batch 512 in parts of",
        _MODULE,
        ("simple:32", "simple:16", "simple:8"),
        "tiny_simple",
        _OURS,
        "bfloat16",
    ),
)


def run(setting: Setting, results: Results) -> None:
    """Adds a row for each peer of both models. Ours runs only if its compiled program has the
    attention that the model chose for the device, which the row names.

    Raises:
      RuntimeError: ours did not run.
    """
    for part in COMPARISONS:
        title = f"{part.tiny}, in miniature" if setting.miniature else part.title
        compare(part, title, _count, setting, results, _columns)


def _count(task: str) -> Callable[[], float | None]:
    return lambda: float(task_of(task).flops())


def _columns(task: str, timing: Timing) -> dict[str, Any]:
    """Makes the columns that only language models have."""
    batch = task_of(task).batch * task_of(task).context
    return {
        "tokens/s": batch / timing.median if timing.seconds else None,
        "attention": timing.facts.get("attention"),
    }
