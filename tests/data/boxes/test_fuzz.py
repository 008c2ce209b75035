"""Damaged files of boxes: they load without what is bad, or one line says what is wrong."""

import copy
import json
import shutil

import numpy as np
import pytest

from jaxmodels.data.boxes import BoxConfig, load_boxes
from jaxmodels.errors import InputError
from tests.data.boxes import files
from tests.marks import campaign

STRANGE = [None, [], {}, "", "x", -1, 0, 1e308, -1e308, float("nan"), float("inf"), True, 10**400]
STRANGE += [[1, 2, 3, 4], {"id": 1}, "../../x", "\ud800", 2**63, 0.5, [[]]]
SPLITS = {"train": files.pictures(2, 1), "test": files.pictures(1, 2)}


def with_strange_bytes(random, content):
    """Flips, cuts out, repeats or inserts bytes."""
    content = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(0, max(1, len(content))))
        end = at + int(random.integers(1, 30))
        kind = int(random.integers(5))
        if kind == 0 and content:
            content[min(at, len(content) - 1)] = int(random.integers(256))
        elif kind == 1:
            del content[at:end]
        elif kind == 2:
            content[at:at] = content[at:end]
        elif kind == 3:
            content[at:at] = random.integers(0, 256, 3, np.uint8).tobytes()
        else:
            del content[at:]
    return bytes(content)


def with_strange_values(random, parsed):
    """Puts strange values into a tree of JSON, takes some out or repeats some."""
    parsed = copy.deepcopy(parsed)
    for _ in range(int(random.integers(1, 4))):
        node = parsed
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not places:
                break
            at = places[int(random.integers(len(places)))]
            inner = node[at]
            if isinstance(inner, (dict, list)) and inner and random.random() < 0.8:
                node = inner
                continue
            kind = int(random.integers(4))
            if kind == 0 and isinstance(node, list):
                node.append(copy.deepcopy(inner))
            elif kind == 1:
                del node[at]
            else:
                node[at] = STRANGE[int(random.integers(len(STRANGE)))]
            break
    return parsed


def damage(random, root, form):
    """Damages one file of boxes."""
    endings = {"coco": ".json", "voc": ".xml", "yolo": (".txt", ".yaml")}[form]
    paths = sorted(path for path in root.rglob("*") if path.name.endswith(endings))
    path = paths[int(random.integers(len(paths)))]
    if form == "coco" and random.random() < 0.7:
        path.write_text(json.dumps(with_strange_values(random, json.loads(path.read_text()))))
    else:
        path.write_bytes(with_strange_bytes(random, path.read_bytes()))


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, campaign(20)])
@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_damaged_files_load_or_are_refused_in_a_line(form, first, tmp_path, monkeypatch):
    whole = getattr(files, f"write_{form}")(tmp_path / "whole", SPLITS)
    good = refused = 0
    for seed in range(first, first + 20):
        monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))
        root = tmp_path / "set"
        shutil.copytree(whole, root)
        damage(np.random.default_rng(seed), root, form)
        try:
            config = BoxConfig(data=str(root), image_size=files.CANVAS, skip_bad_records=100)
            data = load_boxes(config)
            columns = data.source("train").examples(np.arange(data.sizes["train"]))
            there = columns["labels"] >= 0
            boxes = columns["boxes"][there]
            assert np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()
            assert (boxes >= 0).all() and (boxes <= (48, 32, 48, 32)).all()
            assert columns["labels"].max() < len(data.class_names)
            good += 1
        except InputError as error:
            assert "\n" not in str(error), seed
            refused += 1
        shutil.rmtree(root)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    # A bad file of VOC is one picture's.
    assert good > 5 and (refused <= 2 if form == "voc" else refused > 1)
