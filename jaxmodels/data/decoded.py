"""Splits whole in memory-mapped arrays, decoded when they are asked for."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxmodels.data.cleaning import Findings
from jaxmodels.data.records import CleanImages
from jaxmodels.data.scanning import in_threads
from jaxmodels.errors import InputError
from jaxmodels.files import whole_folder


class DecodedSplits(Mapping):
    """The good records of every split as columns "image" and "label".

    A split is decoded when it is first asked for, and kept in `folder` for the next time. To ask
    whether it is there, or for names, decodes nothing.

    Raises:
      InputError: on asking for a split, where its images vary in size.
    """

    def __init__(self, name: str, findings: Findings, folder: Path):
        self.findings = findings
        self._name, self._folder = name, folder

    def __getitem__(self, split: str) -> dict[str, np.ndarray]:
        images = self.findings.splits[split]
        target = self._folder / split
        if not target.exists():
            _decode(images, f"{self._name}/{split}", target)
        columns = {"image": np.load(target / "image.npy", mmap_mode="r")}
        return columns if images.labels is None else columns | {"label": images.labels}

    def __contains__(self, split: object) -> bool:
        return split in self.findings.splits

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings.splits)

    def __len__(self) -> int:
        return len(self.findings.splits)


def _decode(images: CleanImages, name: str, target: Path) -> None:
    """Writes the split's images to a folder that appears at `target` only when complete."""
    if images.shape is None:
        raise InputError(f"the images of {name} vary in size; expected one, or a crop to one size")
    print(f"decoding {len(images):,} images of {name}, once", file=sys.stderr)
    with whole_folder(target) as partial:
        column = np.lib.format.open_memmap(
            partial / "image.npy", mode="w+", dtype=images.dtype, shape=(len(images), *images.shape)
        )

        def fill(indices: np.ndarray) -> None:
            for index, (encoded, _) in zip(indices, images.read(indices)):
                column[index] = images.decode(encoded)

        for _ in in_threads(fill, np.arange(len(images))):
            pass
        column.flush()
