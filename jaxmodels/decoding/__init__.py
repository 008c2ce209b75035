"""Writing by a model of the next token: pure functions on its step with a cache."""

from jaxmodels.decoding.choosing import Choice, allowed_logits, choose
from jaxmodels.decoding.streaming import stream
from jaxmodels.decoding.writing import Step, Writing, begin, extend

__all__ = ["Choice", "Step", "Writing", "allowed_logits", "begin", "choose", "extend", "stream"]
