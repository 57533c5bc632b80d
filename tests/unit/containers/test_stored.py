import h5py
import numpy as np
import pytest

from fmri2img.containers import DiffusionTargets, Reconstructions
from fmri2img.exceptions import MismatchError

N, N_TEST, SIDE = 5, 3, 8


def reconstructions(**changes):
    pictures = np.zeros((N, SIDE, SIDE, 3), np.uint8)
    some = np.zeros((2, 4, 1, 1), np.float32)
    arrays = {
        "image_ids": np.arange(N),
        "split": np.array([b"test"] * N_TEST + [b"train"] * 2),
        "images": pictures,
        "ceiling": pictures,
        "mean_latent": some[0],
        "mean_decoded": pictures[0],
        "mean_seen": some[0],
        "partial_image_ids": np.arange(2),
        "partial_first": np.zeros(2, np.int8),
        "partial_count": np.ones(2, np.int8),
        "partial_images": pictures[:2],
        "partial_seen": some,
        "provenance": {"subject": "subj01"},
    }
    return Reconstructions(**arrays | changes)


def test_arrays_that_an_encoder_has_nothing_for_are_not_in_the_file(tmp_path):
    latents = np.ones((N, 4, 1, 1), np.float32)
    reconstructions(found_latents=latents).save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert {"latents", "samples", "seed_images"}.isdisjoint(file)
    again = Reconstructions.open(tmp_path / "a.h5", remedy="")
    assert again.latents is again.samples is again.seed_images is None
    assert again.n_samples == 0
    np.testing.assert_array_equal(again.any_latents, latents)


def test_files_of_version_0_1_open_under_todays_names(tmp_path):
    z_latents = np.full((N_TEST, 4, 40, 40), 2, np.float16)
    path = tmp_path / "old.h5"
    reconstructions(latents=np.ones((N, 4, 1, 1), np.float32), z_latents=z_latents).save(path)
    with h5py.File(path, "a") as file:
        file.move("z_latents", "scenes")
        file["samples"] = np.zeros((0, 0, 512, 512, 3), np.uint8)
        file["seed_images"] = np.zeros((0, N_TEST, SIDE, SIDE, 3), np.uint8)
        file["prompts"] = np.zeros((0, 77, 768), np.float16)
    found = Reconstructions.open(path, remedy="")
    np.testing.assert_array_equal(found.z_latents, z_latents)
    assert found.samples is found.seed_images is found.text_embeddings is None


def test_targets_of_version_0_1(tmp_path):
    path = tmp_path / "targets.h5"
    nothing = DiffusionTargets.nothing()
    old = {"prompts": {"captions": "ab"}, "scenes": {"pictures": "cd"}}
    DiffusionTargets(
        nothing.image_ids, nothing.z_latents, nothing.text_embeddings, nothing.empty_text, old
    ).save(path)
    with h5py.File(path, "a") as file:
        for name, earlier in DiffusionTargets.earlier_names.items():
            file.move(name, earlier)
    found = DiffusionTargets.open(path, remedy="")
    assert found.empty_text.shape == (77, 768)
    assert found.made_from("text_embeddings") == {"captions": "ab"}
    assert nothing.made_from("z_latents") is None


def test_lengths_that_do_not_belong_together():
    with pytest.raises(MismatchError, match=r"arrays over predicted differ in length: .*latent_sd"):
        reconstructions(
            latents=np.zeros((N, 4, 1, 1)), latent_sd=np.zeros((N - 1, 4, 1, 1), np.float32)
        )
