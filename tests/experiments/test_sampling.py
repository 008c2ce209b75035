"""Samples of a class, of given latents and between latents, and reconstructions of pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import gan, vae
from experiments.parts.sampling import SamplingConfig, conditions_of
from jaxmodels.errors import InputError
from jaxmodels.train import configure, main, train


def _run(script, config_class, *flags):
    words = [word for flag in flags for word in str(flag).split()]
    return main(config_class, script.build, script.PRESETS, words)


@pytest.fixture(name="gan_run", scope="module")
def _gan(judge, tmp_path_factory):
    run = tmp_path_factory.mktemp("gan") / "run"
    flags = {"steps": 1, "batch_size": 8, "width": 8, "latent_size": 6, "mesh": "data=1"}
    config = configure(gan.GANConfig(), **flags, samples=20, judge=str(judge), workdir=run)
    train(gan.build, config)
    return run


@pytest.fixture(name="vae_run", scope="module")
def _vae(tmp_path_factory):
    run = tmp_path_factory.mktemp("vae") / "run"
    flags = {"model": "mlp", "steps": 2, "batch_size": 8, "scored": 0, "samples": 1}
    config = configure(vae.VAEConfig(), **flags, latent_size=3, workdir=run, mesh="data=1")
    train(vae.build, config)
    return run


def _sampled(script, config_class, run, output, *flags):
    flags = (f"--workdir {run} --mode sample", *flags, f"--output {output}")
    assert _run(script, config_class, *flags) == 0
    return dict(np.load(output)) if output.suffix == ".npz" else None


def _of_gan(run, output, *flags):
    return _sampled(gan, gan.GANConfig, run, output, *flags)


def _of_vae(run, output, *flags):
    return _sampled(vae, vae.VAEConfig, run, output, *flags)


@pytest.mark.slow
def test_a_gan_draws_one_class_from_the_latents_of_the_others(gan_run, tmp_path):
    usual = _of_gan(gan_run, tmp_path / "usual.npz", "--count 20")
    sevens = _of_gan(gan_run, tmp_path / "sevens.npz", "--count 20 --label 7")
    assert sevens["labels"].tolist() == [7] * 20
    np.testing.assert_array_equal(usual["images"][[7, 17]], sevens["images"][[7, 17]])
    assert (usual["images"] != sevens["images"]).any()


@pytest.mark.slow
def test_rows_go_from_one_latent_to_another(gan_run, tmp_path):
    found = _of_gan(gan_run, tmp_path / "rows.npz", "--count 15 --interpolate 5 --label 3")
    latents = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    np.save(tmp_path / "latents.npy", latents)
    np.savez(tmp_path / "latents.npz", latents=latents)
    assert found["images"].shape[0] == 15 and set(found["labels"]) == {3}
    given = f"--latent {tmp_path}/latents.npy --label 3"
    ends = _of_gan(gan_run, tmp_path / "ends.npz", given)["images"]
    same = _of_gan(gan_run, tmp_path / "same.npz", given.replace("npy", "npz"))["images"]
    np.testing.assert_array_equal(ends, same)
    chain = _of_gan(gan_run, tmp_path / "chain.npz", given, "--interpolate 4")["images"]
    assert len(chain) == 8  # from the first to the second, and from that to the third
    for place, end in ((0, 0), (3, 1), (4, 1), (7, 2)):
        assert np.abs(chain[place].astype(int) - ends[end]).max() <= 1


@pytest.mark.slow
def test_samples_are_written_as_a_folder_of_pictures(gan_run, tmp_path, capsys):
    arrays = _of_gan(gan_run, tmp_path / "samples.npz", "--count 4 --label 2")
    _of_gan(gan_run, tmp_path / "samples", "--count 4 --label 2")
    files = sorted((tmp_path / "samples").iterdir())
    assert [file.name for file in files] == [f"0000{row}.png" for row in range(4)]
    for file, image in zip(files, arrays["images"], strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), image[..., 0])
    flags = (f"--workdir {gan_run} --mode sample --output {tmp_path}/samples",)
    assert _run(gan, gan.GANConfig, *flags) == 2
    assert "it exists: name a folder that is to be made" in capsys.readouterr().err


@pytest.mark.slow
def test_a_vae_draws_given_latents_and_rows(vae_run, tmp_path):
    np.save(tmp_path / "latents.npy", np.eye(3, dtype=np.float32))
    found = _of_vae(vae_run, tmp_path / "a.npz", f"--latent {tmp_path}/latents.npy")
    rows = _of_vae(vae_run, tmp_path / "b.npz", f"--latent {tmp_path}/latents.npy --interpolate 3")
    np.testing.assert_array_equal(rows["images"][[0, 2, 3, 5]], found["images"][[0, 1, 1, 2]])
    assert len(_of_vae(vae_run, tmp_path / "c.npz", "--count 8 --interpolate 4")["images"]) == 8


@pytest.mark.slow
def test_a_vae_makes_pictures_anew_and_predicts_of_them(vae_run, tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "new").mkdir()
    for name in "ab":
        image = generator.integers(0, 17, (8, 8), np.uint8)
        Image.fromarray(image).save(tmp_path / "new" / f"{name}.png")
    given = f"--input {tmp_path}/new"
    _of_vae(vae_run, tmp_path / "anew", given)
    files = sorted((tmp_path / "anew").iterdir())
    assert [file.name for file in files] == ["00000-a.png", "00001-b.png"]
    found = _of_vae(vae_run, tmp_path / "anew.npz", given)
    np.testing.assert_array_equal(np.asarray(Image.open(files[1])), found["images"][1, ..., 0])
    assert found["names"].tolist() == ["a.png", "b.png"]
    flags = f"--workdir {vae_run} --mode predict --output {tmp_path}/new.jsonl"
    assert _run(vae, vae.VAEConfig, flags, given) == 0
    lines = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert [line["input"] for line in lines] == ["a.png", "b.png"]
    assert all(len(line["latent"]) == 3 and np.isfinite(line["elbo"]) for line in lines)
    # The decoder makes the same of the latents that prediction names.
    np.save(tmp_path / "latents.npy", np.array([line["latent"] for line in lines], np.float32))
    drawn = _of_vae(vae_run, tmp_path / "drawn.npz", f"--latent {tmp_path}/latents.npy")["images"]
    assert np.abs(drawn.astype(int) - found["images"]).max() <= 1


@pytest.mark.slow
def test_a_picture_that_cannot_be_read_is_left_out(vae_run, tmp_path, capsys):
    generator = np.random.default_rng(0)
    (tmp_path / "new").mkdir()
    for name in "abcd":
        image = generator.integers(0, 17, (8, 8), np.uint8)
        Image.fromarray(image).save(tmp_path / "new" / f"{name}.png")
    whole = _of_vae(vae_run, tmp_path / "whole.npz", f"--input {tmp_path}/new")
    (tmp_path / "new/b.png").write_bytes(b"no picture")
    # More pictures than a batch has.
    given = f"--input {tmp_path}/new --eval-batch-size 2"
    found = _of_vae(vae_run, tmp_path / "anew.npz", given)
    printed = capsys.readouterr()
    assert "count=4 failed=1" in printed.out
    assert "note: b.png" in printed.err and "it is left out" in printed.err
    assert found["names"].tolist() == ["a.png", "c.png", "d.png"]
    np.testing.assert_array_equal(found["images"], whole["images"][[0, 2, 3]])
    _of_vae(vae_run, tmp_path / "anew", given)
    files = [file.name for file in sorted((tmp_path / "anew").iterdir())]
    assert files == ["00000-a.png", "00002-c.png", "00003-d.png"]
    for name in "acd":
        (tmp_path / "new" / f"{name}.png").write_bytes(b"no picture")
    for output in ("none.npz", "none"):
        flags = f"--workdir {vae_run} --mode sample --output {tmp_path}/{output}"
        assert _run(vae, vae.VAEConfig, flags, given) == 1
        assert "none of 4 inputs could be read" in capsys.readouterr().err
        assert not (tmp_path / output).exists()


@pytest.mark.slow
def test_a_vae_that_is_told_the_class_is_told_it_of_pictures(tmp_path, capsys):
    run = tmp_path / "run"
    flags = {"model": "mlp", "hidden": (8,), "steps": 2, "batch_size": 8, "scored": 0, "samples": 1}
    flags |= {"conditional": True, "latent_size": 3, "workdir": run, "mesh": "data=1"}
    train(vae.build, configure(vae.VAEConfig(), **flags))
    image = np.random.default_rng(0).integers(0, 17, (8, 8), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    given = f"--workdir {run} --mode predict --input {tmp_path}/a.png --output {tmp_path}/a.jsonl"
    assert _run(vae, vae.VAEConfig, given) == 2
    assert "is told the class of each picture: give it, --label NAME" in capsys.readouterr().err
    latents = []
    for label in "37":
        assert _run(vae, vae.VAEConfig, given, f"--label {label}") == 0
        latents.append(json.loads((tmp_path / "a.jsonl").read_text())["latent"])
    assert latents[0] != latents[1]
    found = _of_vae(run, tmp_path / "a.npz", f"--input {tmp_path}/a.png --label 3")
    assert found["images"].shape == (1, 8, 8, 1)


def test_a_model_whose_latents_are_no_row_draws_none_that_are_given():
    config = SamplingConfig(latent="latents.npy")
    with pytest.raises(InputError, match="latents of this model are no row of numbers"):
        conditions_of(config, (), 4, None, lambda key, count: np.zeros((count, 2)))


@pytest.mark.slow
def test_what_a_model_cannot_draw_is_refused(gan_run, vae_run, tmp_path, capsys):
    np.save(tmp_path / "wide.npy", np.zeros((2, 7)))
    (tmp_path / "text.npy").write_text("no array")
    for script, config_class, run, flags, message in (
        (vae, vae.VAEConfig, vae_run, "--label 3", "the run's model is told no classes"),
        (gan, gan.GANConfig, gan_run, "--label ten", "unknown label 'ten'. Known: 0, 1"),
        (gan, gan.GANConfig, gan_run, f"--latent {tmp_path}/wide.npy", "expected (count, 6)"),
        (gan, gan.GANConfig, gan_run, f"--latent {tmp_path}/text.npy", "it cannot be read"),
        (gan, gan.GANConfig, gan_run, f"--latent {tmp_path}/none.npy", "it cannot be read"),
        (gan, gan.GANConfig, gan_run, "--interpolate 1", "expected 0, or at least 2"),
        (gan, gan.GANConfig, gan_run, f"--input {tmp_path}", "makes no images of given ones"),
    ):
        given = f"--workdir {run} --mode sample --output {tmp_path}/none.npz"
        assert _run(script, config_class, given, flags) == 2, flags
        assert message in (said := capsys.readouterr().err), said
