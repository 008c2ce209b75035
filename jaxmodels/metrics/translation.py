"""Scores of translations, as sacrebleu computes them (Post 2018)."""

from collections.abc import Sequence
from typing import NamedTuple


class TranslationScores(NamedTuple):
    """Scores of hypotheses, and the signatures that say how they were computed.

    bleu: corpus BLEU from 0 to 100 (Papineni et al. 2002). chrf: chrF2 from 0 to 100 (Popović
      2015).
    exact_match: share of hypotheses that are one of their references.
    """

    bleu: float
    chrf: float
    exact_match: float
    signatures: dict[str, str]


def translation_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> TranslationScores:
    """Scores detokenised hypotheses by sacrebleu's default BLEU (mixed case, 13a, exponential
    smoothing) and chrF2, and by what is equal to a reference.

    references: lists as long as the hypotheses, one for each reference of a hypothesis.
    """
    from sacrebleu.metrics import BLEU, CHRF

    bleu, chrf = BLEU(), CHRF()
    given = [list(one) for one in references]
    scores = {"bleu": bleu.corpus_score(list(hypotheses), given).score}
    scores["chrf"] = chrf.corpus_score(list(hypotheses), given).score
    hits = sum(hypothesis in some for hypothesis, *some in zip(hypotheses, *given, strict=True))
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    return TranslationScores(**scores, exact_match=hits / len(hypotheses), signatures=signatures)


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """Computes chrF2 of one sentence, from 0 to 100, to order sentences by."""
    from sacrebleu.metrics import CHRF

    return CHRF().sentence_score(hypothesis, [reference]).score
