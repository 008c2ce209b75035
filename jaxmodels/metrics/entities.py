"""Named entities: spans of words that tags mark, and how many of them are found exactly."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxmodels.metrics.classification import Scores

OUTSIDE = "O"
_GOES_ON = frozenset(("BI", "BE", "II", "IE"))  # prefixes of a tag and of the one behind it


class Entity(NamedTuple):
    """A span of words."""

    kind: str
    start: int  # its first word
    end: int  # the word behind its last


class EntityScores(NamedTuple):
    """Scores of spans: of all together (micro), and by kind."""

    all: Scores
    per_kind: Mapping[str, Scores]


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """Returns the entities that tags mark: B-KIND begins one, I-KIND goes on, O is outside; E-KIND
    ends one, S-KIND is one of a single word.

    An I or E that follows no tag of its kind begins an entity, as conlleval (Tjong Kim Sang & De
    Meulder 2003) and seqeval's default count it, so that IOB1 is read as well.
    """
    found, start, before = [], 0, OUTSIDE
    for place, tag in enumerate((*tags, OUTSIDE)):
        if before[:1] + tag[:1] in _GOES_ON and before[1:] == tag[1:]:
            before = tag
            continue
        if before != OUTSIDE:
            found.append(Entity(before[2:], start, place))
        start, before = place, tag
    return found


def entity_scores(
    true: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]
) -> EntityScores:
    """Computes precision, recall and F1 of entities, which are right where kind and both ends are.

    A ratio of 0/0 is 0. Scores of all are of the counts of all kinds together.
    """
    right, told, there = Counter(), Counter(), Counter()
    for ours, theirs in zip(true, predicted, strict=True):
        known, said = set(entities_of(ours)), set(entities_of(theirs))
        right.update(entity.kind for entity in known & said)
        told.update(entity.kind for entity in said)
        there.update(entity.kind for entity in known)
    per_kind = {
        kind: _scores(right[kind], told[kind], there[kind]) for kind in sorted(told | there)
    }
    return EntityScores(_scores(right.total(), told.total(), there.total()), per_kind)


def _scores(right: int, told: int, there: int) -> Scores:
    return Scores(
        precision=right / told if told else 0.0,
        recall=right / there if there else 0.0,
        f1=2 * right / (told + there) if told + there else 0.0,
        support=there,
    )
