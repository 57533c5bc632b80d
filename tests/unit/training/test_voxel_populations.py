"""What one person's voxels teach those of another."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from conftest import REPOSITORY
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.models._population import learn_priors
from fmri2img.models.registry import check_settings, model_class
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.training.voxel_populations import pool, population_for
from voxel_world import SHAPE, make_world

SETTINGS = check_settings(
    "bayes_population",
    yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]["bayes_population"]
    | {"window_sizes": [1.0], "n_folds": 2, "noise_scales": [0.5, 1.0, 3.0]},
)
N_CHANNELS = 6


def priors(rng, regions=("V1", "V2"), **about):
    """What somebody's regions taught, made up."""
    roots = rng.normal(size=(len(regions), N_CHANNELS, N_CHANNELS))
    shares = rng.uniform(0.1, 1, size=(len(regions), 2))
    facts = {
        "subject": "subj02",
        "data_source": "simulated",
        "func_space": "func1pt8mm",
        "autoencoder": {"name": "vae", "sha256": "abc"},
        "settings": SETTINGS.model_dump(),
    }
    return VoxelPriors(
        np.array(regions),
        rng.integers(20, 200, len(regions)),
        rng.normal(size=(len(regions), N_CHANNELS)).astype(np.float32),
        (roots @ roots.transpose(0, 2, 1)).astype(np.float32),
        (shares / shares.sum(1, keepdims=True)).astype(np.float32),
        np.array([3, 5, 8]),
        facts | about,
    )


def test_people_are_pooled_as_if_their_voxels_were_one_crowd(rng):
    members = [priors(rng), priors(rng, ("V2", "hV4"))]
    pooled = pool(members)
    assert set(pooled) == {"", "V1", "V2", "hV4"}
    parts = [(members[0], 1), (members[1], 0)]
    counts = [int(member.n_voxels[row]) for member, row in parts]
    crowd = [
        rng.multivariate_normal(member.means[row], member.covariances[row], 2000 * n // sum(counts))
        for (member, row), n in zip(parts, counts, strict=True)
    ]
    # Made to have exactly each member's mean and covariance, as samples have them nearly.
    exact = []
    for values, (member, row) in zip(crowd, parts, strict=True):
        centred = values - values.mean(0)
        root = np.linalg.cholesky(np.cov(centred.T, bias=True))
        wanted = np.linalg.cholesky(member.covariances[row].astype(float))
        exact.append(centred @ np.linalg.inv(root).T @ wanted.T + member.means[row])
    together = np.concatenate(exact)
    np.testing.assert_allclose(pooled["V2"].mean, together.mean(0), atol=0.02)
    np.testing.assert_allclose(pooled["V2"].covariance, np.cov(together.T, bias=True), atol=0.1)
    assert float(pooled[""].sizes.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(pooled["V1"].mean, torch.from_numpy(members[0].means[0]))


def with_population(data, population):
    return replace(data, roi_names={1: "V1"}, population=population)


def error(solution, betas, latents):
    encoder, _ = solution
    with torch.no_grad():
        predicted = encoder(betas, torch.full((len(betas),), 2))
    latents = latents.reshape(predicted.shape)
    return float((predicted - latents).square().mean() / latents.square().mean())


def few_images(data, n):
    trials = data.trial_images < n
    return replace(
        data,
        betas=data.betas[trials],
        trial_images=data.trial_images[trials],
        latents=data.latents[:n],
        energies=data.energies[:n],
    )


def solved(data):
    encoder = model_class("bayes_population")(data.betas.shape[1], SHAPE, SETTINGS)
    encoder.normalizer.fit(data.betas)
    facts = encoder.solve(data)
    return encoder.eval(), facts


def test_twenty_images_suffice_if_somebody_like_them_was_there_before(rng):
    whole, test, latents = make_world(rng)
    learnt = learn_priors(replace(whole, roi_names={1: "V1"}), SETTINGS)
    ((n_voxels, prior),) = learnt.values()
    assert n_voxels == whole.betas.shape[1]
    few = few_images(whole, 20)
    own = error(solved(with_population(few, {})), test, latents)
    known = error(solved(with_population(few, {"": prior, "V1": prior})), test, latents)
    assert known < own < 1.05
    # A region that nobody else has is like all others.
    elsewhere = with_population(few, {"": prior, "V2": prior})
    assert error(solved(elsewhere), test, latents) == pytest.approx(known)


def test_pure_noise_decodes_to_nothing_whatever_the_population_says(rng):
    whole, test, latents = make_world(rng)
    ((_, prior),) = learn_priors(replace(whole, roi_names={1: "V1"}), SETTINGS).values()
    noise = torch.from_numpy(rng.normal(size=whole.betas.shape)).float()
    deaf = replace(whole, betas=noise)
    solution = solved(with_population(deaf, {"": prior, "V1": prior}))
    assert error(solution, test, latents) == pytest.approx(1.0, abs=0.05)
    variance = float(deaf.latents.var(dim=0, correction=0).mean())
    assert solution[1]["cross_validated_mse"] / variance == pytest.approx(1.0, abs=0.05)


def test_a_brain_without_variance_teaches_nobody(rng):
    whole, _, _ = make_world(rng)
    flat = replace(whole, roi_names={1: "V1"}, betas=torch.ones_like(whole.betas))
    with pytest.raises(MismatchError, match=r"population: no voxel varies over .* training images"):
        learn_priors(flat, SETTINGS)


@pytest.fixture
def person():
    """The data of another person, as far as a population looks at it."""

    about = {"subject": "subj01", "data_source": "simulated", "func_space": "func1pt8mm"}
    examples = SimpleNamespace(provenance=about, roi_names=["V1", "V1", "V3"])
    network = {"autoencoder": {"name": "vae", "sha256": "abc"}}
    latents = SimpleNamespace(
        provenance=network, values=np.zeros((2, 4, 2, 2)), energies=np.zeros((2, 2, 1, 1))
    )
    return examples, np.array([9, 11]), latents


def test_a_population_that_fits(rng, person):
    assert set(population_for([priors(rng)], *person, SETTINGS)) == {"", "V1", "V2"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"regions": ("FFA", "PPA")}, "regions of subj02 are FFA, PPA, of subj01 V1, V3; expected"),
        ({"func_space": "func1mm"}, "func_space of subj02 is func1mm, expected func1pt8mm as of"),
        ({"autoencoder": {"sha256": "def"}}, "autoencoder of subj02 is def, expected abc as of"),
        ({"data_source": "nsd"}, "simulated of subj02 is False, expected True as of subj01"),
        (
            {"settings": SETTINGS.model_dump() | {"window_sizes": [3.0]}},
            r"window_sizes of subj02 is \[3.0\], expected \[1.0\] as of subj01",
        ),
    ],
)
def test_a_population_of_other_regions_spaces_or_networks_is_refused(rng, person, changes, line):
    with pytest.raises(MismatchError, match=f"population: {line}"):
        population_for([priors(rng, **changes)], *person, SETTINGS)


def test_a_population_that_has_seen_a_test_image_is_refused(rng, person):
    member = replace(priors(rng), image_ids=np.array([1, 9, 30]))
    line = "subj02 learnt from 1 of the 2 test images of subj01, image 9 first, expected none"
    with pytest.raises(MismatchError, match=line):
        population_for([member], *person, SETTINGS)


def test_a_population_of_nobody_else_is_refused(person):
    with pytest.raises(MismatchError, match="subj01: the population has no other subject; name"):
        population_for([], *person, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"n_voxels": np.array([0, 3])}, "n_voxels: 0, expected 1 or more"),
        ({"window_shares": np.full((2, 2), 0.7, np.float32)}, "window_shares: expected shares"),
        (
            {"covariances": -np.ones((2, N_CHANNELS, N_CHANNELS), np.float32)},
            "covariances: that of V1 has a negative variance",
        ),
        ({"means": np.full((2, N_CHANNELS), np.nan, np.float32)}, "means: nan at"),
    ],
)
def test_distributions_that_there_cannot_be(rng, tmp_path, changes, line):
    replace(priors(rng), **changes)._write(tmp_path / "p.h5")
    with pytest.raises(FormatError, match=line):
        VoxelPriors.open(tmp_path / "p.h5", remedy="dvc repro")
    priors(rng).save(tmp_path / "q.h5")
    opened = VoxelPriors.open(tmp_path / "q.h5", remedy="", subject="subj02")
    assert opened.regions.tolist() == ["V1", "V2"]
    with pytest.raises(MismatchError, match="belongs to subj02, expected subj01"):
        VoxelPriors.open(tmp_path / "q.h5", remedy="", subject="subj01")
