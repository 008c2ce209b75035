"""Streamed images of ours, PyTorch's DataLoader and plain Grain, for experiments.benchmarks.data.

A task is KIND=FOLDER: `mnist` of a tfds folder (batches of 128, as stored) or `photographs` of a
folder of JPEGs (batches of 64, random resized crops to 224 pixels). All give batches of uint8
pixels and labels in a new random order each epoch, and draw crops as torchvision does. A step is
one batch; for `resident` and `streamed` it is `STEPS` training steps of classifier_peers' CNN.
"""

import io
import itertools
import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.benchmarks.alternate import cores

Block = Callable[[int], float | None]
Batches = Iterator[tuple[np.ndarray, np.ndarray]]  # images, labels; some of torch
BATCH = {"mnist": 128, "photographs": 64}
SIZE = 224
STEPS = 10
_ENDLESS = 10**6  # batches


class Photographs:
    """A sequence of (pixels, label) from files, decoded by Pillow."""

    def __init__(self, folder: str):
        self._paths, self._labels = photographs(Path(folder))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        return pillow_pixels(self._paths[row], crop=True), self._labels[row]


class Digits:
    """A sequence of (pixels, label) from records, parsed as ours are and decoded by Pillow."""

    def __init__(self, folder: str):
        self._records = _tfds_source(folder).data_source

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[tuple[np.ndarray, int]]:
        # DataLoader calls this for a whole batch, which ArrayRecord reads far faster than rows.
        from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

        pairs = []
        for record in self._records.__getitems__(rows):
            features = Example.FromString(record).features.feature
            file = io.BytesIO(features["image"].bytes_list.value[0])
            pairs.append((pillow_pixels(file), features["label"].int64_list.value[0]))
        return pairs


def examples(task: str) -> Photographs | Digits:
    """Opens the examples of a task without our code."""
    kind, _, folder = task.partition("=")
    return Photographs(folder) if kind == "photographs" else Digits(folder)


def pillow_pixels(file: Path | io.BytesIO, crop: bool = False) -> np.ndarray:
    """Decodes a picture; with `crop`, crops it as torchvision's RandomResizedCrop does."""
    from PIL import Image

    image = Image.open(file)
    if not crop:
        pixels = np.array(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels
    image = image.convert("RGB")
    left, top, width, height = _random_box(*image.size)
    image = image.crop((left, top, left + width, top + height))
    return np.array(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _random_box(width: int, height: int) -> tuple[int, int, int, int]:
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    return 0, 0, width, height


def make_photographs(folder: Path, count: int, classes: int = 10) -> None:
    """Writes JPEGs of about 500 x 375 pixels and 80 kB to folder/CLASS: noise at all scales, as
    strong at each as in photographs, and camera noise."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for index in range(count):
        height, width = (375, 500) if index % 4 else (500, 375)
        width -= int(generator.integers(0, 30))
        pixels = np.full((height, width, 3), 120.0)
        for cells in (2, 4, 8, 16, 32, 64, 128):
            noise = Image.fromarray(
                generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8), "RGB"
            ).resize((width, height), Image.Resampling.BICUBIC)
            pixels += (np.asarray(noise, np.float64) - 127.5) / cells**0.5
        pixels += generator.normal(0, 3, (height, width, 1))
        below = folder / f"class{index % classes}"
        below.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(below / f"{index:04}.jpg", quality=92)


def photographs(folder: Path) -> tuple[list[Path], list[int]]:
    """Lists the files of `make_photographs`, sorted, and their labels."""
    paths = sorted(folder.glob("class*/*.jpg"))
    return paths, [int(path.parent.name.removeprefix("class")) for path in paths]


def our_batches(task: str, workers: int = 0) -> Batches:
    """Yields batches as a training run gets them."""
    from jaxmodels.data import Order
    from jaxmodels.data.images import DataConfig, load_images, make_source

    kind, _, folder = task.partition("=")
    if kind == "mnist":
        data, size = load_images("mnist", folder), 0
    else:
        # The user's cache must not keep the index of these photographs.
        os.environ["JAXMODELS_CACHE"] = str(Path(folder, "..", "cache"))
        data, size = load_images(folder, varying=True), SIZE
    source = make_source(data, "train", DataConfig(loading="streamed", workers=workers), size)
    order = Order(source.size, BATCH[kind], seed=0)
    spans = [(step, step + 1) for step in range(_ENDLESS)]
    for sent in source.send(order, spans, 1):
        yield sent["image"][0], sent["label"][0]


def torch_batches(task: str, data: Sequence, workers: int) -> Iterator:
    """Makes the batches of a DataLoader with its defaults."""
    import torch

    batch = BATCH[task.partition("=")[0]]
    # One pass spans all epochs, because workers pause at the end of a pass.
    sampler = torch.utils.data.RandomSampler(data, num_samples=_ENDLESS * batch)
    loader = torch.utils.data.DataLoader(data, batch, sampler=sampler, num_workers=workers)
    return iter(loader)


def grain_batches(task: str, processes: int) -> Batches:
    """Makes the batches of a Grain MapDataset: 16 threads here, or in each of the processes."""
    import grain

    batch = BATCH[task.partition("=")[0]]
    data = grain.MapDataset.source(examples(task)).shuffle(seed=0).repeat()
    dataset = data.batch(batch).to_iter_dataset()
    if processes:
        _allow_grain_processes()
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=processes))
    return iter(dataset)


def ours(task: str) -> Block:
    """Streams our batches by threads, the default."""
    return _block(our_batches(task))


def ours_workers(task: str) -> Block:
    """Streams our batches by processes."""
    return _block(our_batches(task, cores()))


def torch_tfds(task: str) -> Block:
    """Runs a DataLoader over tfds's data source, which decodes."""
    return _block(torch_batches(task, _tfds_source(task.partition("=")[2]), 0))


def torch_tfds_workers(task: str) -> Block:
    """Runs the same in worker processes."""
    return _block(torch_batches(task, _tfds_source(task.partition("=")[2]), cores()))


def torch_pillow(task: str) -> Block:
    """Runs a DataLoader over records or files, decoded by Pillow."""
    return _block(torch_batches(task, examples(task), 0))


def torch_pillow_workers(task: str) -> Block:
    """Runs the same in worker processes."""
    return _block(torch_batches(task, examples(task), cores()))


def grain_threads(task: str) -> Block:
    """Runs plain Grain over records or files, decoded by Pillow."""
    return _block(grain_batches(task, 0))


def grain_workers(task: str) -> Block:
    """Runs the same in worker processes."""
    return _block(grain_batches(task, cores()))


def resident(task: str) -> Block:
    """Trains on images that lie on the device."""
    return _training_block(task, "resident")


def streamed(task: str) -> Block:
    """Trains on streamed images."""
    return _training_block(task, "streamed")


def _tfds_source(folder: str):
    import tensorflow_datasets as tfds

    return tfds.builder("mnist", data_dir=folder).as_data_source("train")


def _allow_grain_processes() -> None:
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _block(batches: Batches) -> Block:
    def block(steps: int) -> None:
        for _ in itertools.islice(batches, steps):
            pass

    return block


def _training_block(task: str, loading: str) -> Block:
    import jax

    from experiments.benchmarks.classifier_peers import step_on
    from jaxmodels.data.images import DataConfig, load_images, make_source

    data = load_images("mnist", task.partition("=")[2])
    source = make_source(data, "train", DataConfig(loading=loading))
    program = step_on("cnn", source, data.normalization())._replace(length=STEPS).program()
    state = program.create()
    feed = program.feed(0, range(STEPS, _ENDLESS * STEPS, STEPS))
    chunks = iter(feed.__enter__())

    def block(calls: int) -> float:
        nonlocal state
        before, window = feed.waited, program.zeros()
        for chunk in itertools.islice(chunks, calls):
            state, window = program.run(state, window, chunk)
        jax.device_get(window)
        return feed.waited - before

    return block
