"""Streamed images are the resident ones, of any workers, in constant memory."""

import io
import resource

import jax
import numpy as np
import pytest
from PIL import Image

from jaxmodels.data import Order, Resident, Selection, Streamed
from jaxmodels.data.images import (
    CropConfig,
    DataConfig,
    ImageDecoder,
    central_crop,
    crops,
    is_streamed,
    load_images,
    make_source,
    random_resized_crop,
)
from jaxmodels.errors import InputError
from tests.marks import slow
from tests.tfds_folder import write_image_dataset

SIZE = 37


@pytest.fixture
def data(tmp_path):
    generator = np.random.default_rng(0)
    images = list(generator.integers(0, 256, (SIZE, 9, 8, 3)).astype(np.uint8))
    labels = (np.arange(SIZE) % 3).tolist()
    write_image_dataset(tmp_path, "noise", {"train": images}, {"train": labels})
    return load_images("noise", tmp_path)


def _batches(source, order, spans, length):
    """The batches of all steps, as the compiled step sees them."""
    for (start, stop), sent in zip(spans, source.send(order, spans, length), strict=True):
        assert {len(column) for column in sent.values()} == {length}
        for at in range(stop - start):
            row = {name: column[at] for name, column in sent.items()}
            yield jax.tree.map(
                np.asarray, source.batch(*jax.device_put((dict(source.arrays), row)))
            )


@pytest.mark.parametrize(("workers", "seed"), [slow(0, None), (0, 3), slow(2, None), slow(2, 3)])
def test_batches_are_those_of_the_resident_path(data, workers, seed, monkeypatch):
    # Three steps are read at once, of spans that end elsewhere.
    monkeypatch.setattr("jaxmodels.data.streamed._READ_AT_ONCE", 24)
    streamed = make_source(data, "train", DataConfig(loading="streamed", workers=workers))
    resident = Resident(data.splits["train"])
    order = Order(SIZE, 8, seed)
    spans = [(2, 5), (5, 9), (9, 10)]
    both = (_batches(source, order, spans, 4) for source in (streamed, resident))
    for a, b in zip(*both, strict=True):
        assert a.keys() == b.keys() == {"image", "label"}
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == b[name].dtype
    assert streamed.spec(8) == resident.spec(8)
    rows = np.array([5, 0, 5])
    for name, column in streamed.examples(rows).items():
        np.testing.assert_array_equal(column, resident.examples(rows)[name])


def test_crops_are_drawn_by_the_position_in_the_run_and_central_in_evaluation(data):
    source = make_source(data, "train", DataConfig(), crop=6)
    images = data.records["train"]
    order = Order(SIZE, 8, seed=3)
    (sent,) = source.send(order, [(7, 9)], 2)
    rows, positions = order.rows(7, 9), order.positions(7, 9)
    for at in np.ndindex(2, 8):
        record = images.read([int(rows[at])])[0]
        expected = random_resized_crop(record["image"], 6, 3, int(positions[at]), 3, np.uint8)
        np.testing.assert_array_equal(sent["image"][at], expected)
        assert sent["label"][at] == record["label"]
    (sent,) = source.send(Order(SIZE, 8), [(0, 1)], 1)
    for row in range(8):
        expected = central_crop(images.read([row])[0]["image"], 6, 3, np.uint8)
        np.testing.assert_array_equal(sent["image"][0, row], expected)


def test_central_crops_lie_on_the_device_where_they_fit(data, tmp_path, monkeypatch, capsys):
    data = load_images("noise", tmp_path, validation_fraction=0.3)
    config = DataConfig()
    kept = make_source(data, "validation", config, crop=6)
    assert isinstance(kept, Resident)
    assert "note: noise/validation: " in (said := capsys.readouterr().err)
    assert "images cut to 6x6 pixels lie on the device" in said
    assert isinstance(make_source(data, "train", config, crop=6), Streamed)
    streamed = make_source(data, "validation", DataConfig(loading="streamed"), crop=6)
    assert isinstance(streamed, Streamed)
    assert kept.spec(4) == streamed.spec(4) and kept.size == streamed.size
    rows = np.arange(kept.size)
    for name, column in streamed.examples(rows).items():
        np.testing.assert_array_equal(column, kept.examples(rows)[name])
    monkeypatch.setattr("jaxmodels.data.loading.memory_of_device", lambda: 2 * kept.size * 108 - 1)
    assert isinstance(make_source(data, "validation", config, crop=6), Streamed)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.6, 0.5), (0.5, 1.5), (float("nan"), 1.0)])
def test_a_scale_of_crops_that_is_none_is_refused(scale):
    with pytest.raises(InputError, match=r"crop_scale = .*--crop-scale 0.3 1"):
        CropConfig(image_size=8, crop_scale=scale).validate()
    with pytest.raises(InputError, match=r"crop_scale = 0\.5 1, image_size = 0"):
        CropConfig(crop_scale=(0.5, 1.0)).validate()
    CropConfig(image_size=8, crop_scale=(1.0, 1.0)).validate()


def test_random_crops_keep_the_share_of_the_area_that_is_asked_for(data):
    source = make_source(data, "train", DataConfig(), 6, (0.9, 1.0))
    (sent,) = source.send(Order(SIZE, 8, seed=3), [(0, 1)], 1)
    rows, scale = Order(SIZE, 8, seed=3).rows(0, 1)[0], (0.9, 1.0)
    for at, row in enumerate(rows.tolist()):
        encoded = data.records["train"].read([row])[0]["image"]
        expected = random_resized_crop(encoded, 6, 3, at, 3, np.uint8, scale=scale)
        np.testing.assert_array_equal(sent["image"][0, at], expected)
    areas = [
        box.height * box.width
        for at in range(300)
        for box in [crops.random_box(300, 300, 0, at, (0.3, 0.5))]
    ]
    assert 0.29 * 300**2 < min(areas) < 0.32 * 300**2
    assert 0.48 * 300**2 < max(areas) < 0.51 * 300**2


def test_each_host_reads_its_part_only(data):
    source = make_source(data, "train", DataConfig(), crop=6)
    (whole,) = source.send(Order(SIZE, 8, 1), [(0, 3)], 3)
    parts = [next(source.send(Order(SIZE, 8, 1, (part, 2)), [(0, 3)], 3)) for part in range(2)]
    for name, column in whole.items():
        assert parts[0][name].shape[1] == 4
        np.testing.assert_array_equal(column, np.concatenate([p[name] for p in parts], axis=1))


def test_auto_streams_what_does_not_fit(data, monkeypatch):
    assert not is_streamed(data, DataConfig())
    assert is_streamed(data, DataConfig(loading="streamed"))
    assert is_streamed(data, DataConfig(), crop=5)
    monkeypatch.setattr("jaxmodels.data.loading.memory_of_device", lambda: data.decoded_bytes)
    assert is_streamed(data, DataConfig())
    assert not is_streamed(data, DataConfig(loading="resident"))
    assert isinstance(make_source(data, "train", DataConfig()), Streamed)
    assert isinstance(make_source(data, "train", DataConfig(loading="resident")), Resident)


def test_what_cannot_be_streamed(data):
    with pytest.raises(InputError, match=r"'digits' lies in arrays.*--loading"):
        make_source(load_images("digits"), "train", DataConfig(loading="streamed"))
    with pytest.raises(InputError, match="workers = "):
        DataConfig(workers=-1).validate()
    with pytest.raises(InputError, match="image_size = -1"):
        CropConfig(image_size=-1).validate()
    with pytest.raises(InputError, match="image_size = 8, loading = resident"):
        make_source(data, "train", DataConfig(loading="resident"), 8)


class _Photographs:
    """50 GB of 224x224 pictures, decoded, which are one and the same."""

    count = 50 * 10**9 // (224 * 224 * 3)

    def __init__(self):
        picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(picture).resize((224, 224)).save(file, "JPEG")
        self._encoded = file.getvalue()

    def __len__(self):
        return self.count

    def read(self, rows):
        return [{"image": self._encoded, "label": row % 10} for row in rows]

    def key(self, row):
        return str(row)


@pytest.mark.slow
def test_memory_stays_the_same_however_much_is_streamed():
    source = _Photographs()
    images = Selection(source, np.arange(len(source), dtype=np.int32))
    decode = ImageDecoder(3, np.dtype(np.uint8), labelled=True)
    assert decode(source.read([0])[0])["image"].shape == (224, 224, 3)
    spec = {
        "image": jax.ShapeDtypeStruct((224, 224, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
    }
    order = Order(len(source), 64, seed=0)
    ends = [*range(2, 162, 2)]
    peaks, examples = [], 0
    for sent in Streamed(images, decode, spec).send(order, zip([0, *ends], ends), 2):
        examples += sent["label"].size
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert examples == 160 * 64  # 1.5 GB decoded
    assert peaks[-1] - peaks[20] < 100  # MB
