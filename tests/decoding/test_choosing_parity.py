"""The rules of a choice against the logits processors of transformers."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.decoding import Choice
from jaxmodels.decoding.choosing import allowed_logits, penalized

torch = pytest.importorskip("torch")
sys.modules.setdefault("torchvision", None)  # one of another version breaks transformers
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity


@pytest.mark.parametrize("seed", range(4))
def test_probabilities_are_those_of_transformers(seed):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (5, 211)).astype(np.float32)
    said = generator.integers(0, 211, (5, 30))
    choice = Choice(
        temperature=float(generator.uniform(0.3, 2)),
        top_k=int(generator.integers(5, 100)),
        top_p=float(generator.uniform(0.3, 0.99)),
        min_p=float(generator.uniform(0.01, 0.2)),
        repetition_penalty=float(generator.uniform(0.7, 2)),
    )
    theirs = torch.tensor(logits)
    for processor in (
        transformers.RepetitionPenaltyLogitsProcessor(choice.repetition_penalty),
        transformers.TemperatureLogitsWarper(choice.temperature),
        transformers.TopKLogitsWarper(choice.top_k),
        transformers.TopPLogitsWarper(choice.top_p),
        transformers.MinPLogitsWarper(choice.min_p),
    ):
        theirs = processor(torch.tensor(said), theirs)
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, said, True, axis=1)
    warm = penalized(jnp.asarray(logits), jnp.asarray(seen), choice.repetition_penalty)
    ours = allowed_logits(warm / choice.temperature, choice)
    wanted = torch.softmax(theirs, -1).numpy()
    np.testing.assert_allclose(jax.nn.softmax(ours), wanted, atol=1e-6)
