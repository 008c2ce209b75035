"""Writing by a model of the next token: pure functions on its step with a cache."""

from jaxmodels.decoding.beams import Found, search
from jaxmodels.decoding.choosing import Choice, allowed_logits, choose
from jaxmodels.decoding.rules import Rule, at_least, forced, no_repeats, without
from jaxmodels.decoding.streaming import stream
from jaxmodels.decoding.writing import Step, Writing, begin, extend

__all__ = [
    "Choice",
    "Found",
    "Rule",
    "Step",
    "Writing",
    "allowed_logits",
    "at_least",
    "begin",
    "choose",
    "extend",
    "forced",
    "no_repeats",
    "search",
    "stream",
    "without",
]
