import numpy as np
import torch

from fmri2img.containers.repetitions import average_repetitions
from fmri2img.models import _averages
from fmri2img.models._averages import average_trials


def test_averages_are_those_of_the_voxel_files_to_the_last_bit(rng, monkeypatch):
    """For up to eight trials, whatever the order of images."""
    monkeypatch.setattr(_averages, "_VOXELS_AT_ONCE", 3)
    images = np.sort(np.repeat(np.arange(40), rng.integers(1, 9, 40)))
    betas = rng.normal(size=(len(images), 7)).astype(np.float32)
    betas[rng.random(betas.shape) < 0.2] = np.nan
    expected = average_repetitions(betas, images, np.arange(40))
    found = average_trials(torch.from_numpy(betas), torch.from_numpy(images), 40)
    np.testing.assert_array_equal(found.numpy(), expected)
    order = np.argsort(rng.permutation(40)[images], kind="stable")
    shuffled = torch.from_numpy(betas[order]), torch.from_numpy(images[order])
    np.testing.assert_array_equal(average_trials(*shuffled, 40).numpy(), expected)


def test_an_image_without_a_trial_has_no_average():
    averages = average_trials(torch.ones(2, 3), torch.tensor([0, 2]), 3)
    assert averages[[0, 2]].eq(1).all()
    assert averages[1].isnan().all()
