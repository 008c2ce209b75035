"""The role of a flag in the identity of a run."""

import enum


class Role(enum.Enum):
    """A mark on a field of a config, as in `workers: Annotated[int, Role.HOW]`. A flag without a
    mark is part of the run's identity: with another value it is another run."""

    HOW = "how the same run is carried out"
    BITS = "how the same run is carried out; the last bits of results may depend on it"
    VERB = "what is done with a run, or where"
    READ = "identity in training, free when a run is evaluated or sampled from"
