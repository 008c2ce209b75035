"""What several experiments are tested with."""

import pytest

from experiments import classifier
from jaxmodels.train import configure, train


@pytest.fixture(scope="session")
def judge(tmp_path_factory):
    """A quick classifier of the digits, so that tests need not train the default one."""
    folder = tmp_path_factory.mktemp("judge") / "run"
    flags = {"model": "mlp", "hidden": (32,), "steps": 300, "workdir": str(folder)}
    config = configure(classifier.ClassifierConfig(), **flags, mesh="data=1")
    train(classifier.build, config)
    return folder
