import pytest
import torch

from fmri2img.models.base import TrainingTensors
from fmri2img.training.batches import TrialBatches

N_IMAGES, N_VOXELS = 23, 5
CPU = torch.device("cpu")


@pytest.fixture
def data(rng):
    trial_images = torch.from_numpy(
        rng.permutation([image for image in range(N_IMAGES) for _ in range(1 + image % 3)])
    )
    # Each trial holds its own number.
    betas = torch.arange(len(trial_images)).float()[:, None].expand(-1, N_VOXELS)
    latents, none = torch.zeros(N_IMAGES, 4, 2, 2), torch.zeros(0, 0, 1, 1)
    return TrainingTensors(
        betas,
        trial_images,
        latents,
        torch.zeros(N_VOXELS),
        none,
        none,
        none,
    )


def batches(data, repetitions="single", batch_size=7, **changes):
    return TrialBatches(
        data, repetitions=repetitions, batch_size=batch_size, seed=3, device=CPU, **changes
    )


def test_an_epoch_of_single_trials_shows_each_once(data):
    steps = list(batches(data).epoch(0))
    shown = torch.cat([step.betas[:, 0, 0] for step in steps]).long()
    assert sorted(shown.tolist()) == list(range(len(data.betas)))
    assert torch.equal(data.trial_images[shown], torch.cat([step.rows for step in steps]))
    assert len(steps) == len(batches(data))
    again = torch.cat([step.rows for step in batches(data).epoch(1)])
    assert not torch.equal(again, torch.cat([step.rows for step in steps]))


@pytest.mark.parametrize("repetitions", ["mean", "mixup"])
def test_averages_are_of_the_images_own_trials(repetitions, data):
    steps = list(batches(data, repetitions).epoch(0))
    assert sorted(torch.cat([step.rows for step in steps]).tolist()) == list(range(N_IMAGES))
    for step in steps:
        torch.testing.assert_close(step.weights.sum(1), torch.ones(len(step.rows)))
        used = step.weights > 0
        assert (data.trial_images[step.betas[:, :, 0].long()] == step.rows[:, None])[used].all()
    if repetitions == "mean":
        weights = torch.cat([step.weights for step in steps])
        counts = data.repetitions[torch.cat([step.rows for step in steps])]
        torch.testing.assert_close(weights.max(1).values, 1 / counts.float())


def test_mixup_draws_weighted_means_means_and_single_trials(data):
    three = torch.cat(
        [
            step.weights[data.repetitions[step.rows] == 3]
            for epoch in range(150)
            for step in batches(data, "mixup").epoch(epoch)
        ]
    )
    single = (three.max(1).values > 0.999).float().mean().item()
    mean = ((three - 1 / 3).abs().max(1).values < 1e-6).float().mean().item()
    assert (1 - single - mean, mean, single) == (
        pytest.approx(0.5, abs=0.06),
        pytest.approx(0.3, abs=0.06),
        pytest.approx(0.2, abs=0.06),
    )


@pytest.mark.parametrize("repetitions", ["single", "mixup"])
def test_an_epoch_goes_on_where_it_stopped(repetitions, data):
    whole, rest = (
        list(batches(data, repetitions).epoch(2)),
        list(batches(data, repetitions).epoch(2, first=2)),
    )
    assert len(rest) == len(whole) - 2
    for one, other in zip(whole[2:], rest, strict=True):
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.weights, other.weights)


@pytest.mark.parametrize("batch_size", [7, 1, 100])
def test_processes_share_a_step_and_its_mean(batch_size, data):
    whole = list(batches(data, batch_size=batch_size).epoch(0))
    parts = [
        list(batches(data, batch_size=batch_size, process=process, n_processes=3).epoch(0))
        for process in range(3)
    ]
    values = torch.arange(N_IMAGES).float()
    for step, *mine in zip(whole, *parts, strict=True):
        mean = sum(part.share * values[part.rows].mean() for part in mine) / 3
        torch.testing.assert_close(mean, values[step.rows].mean())


def test_data_that_stay_on_the_cpu_arrive_in_the_same_order(data, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    resident, fetched = batches(data, "mixup"), batches(data, "mixup")
    fetched.is_resident = False
    for one, other in zip(resident.epoch(0), fetched.epoch(0), strict=True):
        assert torch.equal(one.betas, other.betas)
        assert torch.equal(one.weights, other.weights)
