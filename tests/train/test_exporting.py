"""The mode export calls what the script names for a format, with the state of a checkpoint."""

import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.train import configure, modes
from jaxmodels.train.run_folder import RunFolder
from tests.train.toys import CONFIG, experiment, regression, train_toy


def test_export_writes_a_checkpoint_and_says_so(tmp_path):
    def write(state, output):
        output.mkdir()
        np.save(output / "w.npy", state["params"]["w"])

    toy = experiment(regression(), exports={"safetensors": write})
    config = configure(CONFIG, steps=2, eval_every=2)
    result = train_toy(tmp_path / "run", toy, config)
    folder, output = RunFolder(tmp_path / "run"), tmp_path / "out"

    def export(**flags):
        flags = {"mode": "export", "output": str(output), **flags}
        return modes.export(toy, configure(config, **flags), folder)

    for flags, message in (
        ({"format": "onnx"}, "format = onnx; experiment exports safetensors: --format safetensors"),
        ({"output": None}, "output = None; expected a folder or file to make, --output PATH"),
        ({"output": str(tmp_path)}, "it exists: name one that is to be made"),
        ({"output": str(tmp_path / "a" / "b")}, "there is no folder .*/a: name one"),
    ):
        with pytest.raises(InputError, match=message):
            export(**flags)
    with pytest.raises(InputError, match="has no checkpoint; train the run first"):
        flags = {"mode": "export", "output": str(output)}
        modes.export(toy, configure(config, **flags), RunFolder(tmp_path / "none"))
    assert not output.exists()
    assert export() == f"step=2 format=safetensors output={output} workdir={folder.path}"
    np.testing.assert_array_equal(np.load(output / "w.npy"), result.state["params"]["w"])
    with pytest.raises(InputError, match="experiment exports nothing"):
        modes.export(experiment(regression()), configure(config, mode="export"), folder)
