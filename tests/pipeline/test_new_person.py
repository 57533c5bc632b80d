"""A population, an encoder that learns from it, and a ninth subject of whom there are minutes. All
simulated: two people are made of one, who share no voxel and no picture.
"""

import json
import shutil
from dataclasses import replace

import mlflow
import numpy as np
import pytest

from commands import fmri2img, stage
from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.models.registry import load_encoder
from fmri2img.project.params_file import load_params
from fmri2img.training.population_member import learn_voxel_priors
from miniature import SUBJECT, changed_params, clone, inside
from pipeline.projects import SMALL_POPULATION

MODEL, MEMBER, NEW = "bayes_population", "subj01", "subj09"
OF_VOXELS = ("voxel_ijk", "roi_labels", "ncsnr", "training_ncsnr", "in_brain")
OF_TRIALS = ("image_ids", "is_shared", "session", "run", "trial", "repetition")


def of_voxels(data, voxels):
    """Some of somebody's voxels."""
    return replace(
        data,
        **{name: getattr(data, name)[voxels] for name in OF_VOXELS},
        valid=data.valid[:, voxels],
        saturated=data.saturated[:, voxels],
        betas=data.betas[:, voxels],
    )


def of_trials(data, trials):
    """Some of somebody's trials."""
    parts = {name: getattr(data, name)[trials] for name in OF_TRIALS}
    return replace(data, betas=data.betas[trials], **parts)


@pytest.fixture(scope="module")
def lab(pair_template, tmp_path_factory):
    """The miniature with one more member of the population, and the new person's voxel file."""
    lab = clone(pair_template, tmp_path_factory.mktemp("lab") / "project")
    with changed_params(lab) as params:
        params["train"][MODEL] |= SMALL_POPULATION
        params["models"]["population"] = [MODEL]
        params["subjects"] = params["population"] = [SUBJECT, MEMBER]
    with inside(lab):
        settings = load_params().train[MODEL]
        from fmri2img.models.registry import check_settings

        settings = check_settings(MODEL, settings)
        examples = Examples.open(lab / f"data/examples/{SUBJECT}.h5", remedy="")
        latents = Latents.open(lab / f"data/latents/{SUBJECT}.h5", remedy="")
        split = Split.open(lab / f"data/splits/{SUBJECT}.json", remedy="")
        theirs = replace(split, train=split.train[::2])
        member = of_voxels(examples, np.s_[::2])
        learnt = learn_voxel_priors(member, theirs, latents, settings)
        about = learnt.provenance | {"subject": MEMBER}
        replace(learnt, provenance=about).save(lab / f"data/population/{MODEL}/{MEMBER}.h5")
        trials = TrialBetas.open(lab / f"data/voxels/{SUBJECT}.h5", remedy="")
        kept = ~np.isin(trials.image_ids, theirs.train)
        new = of_voxels(trials, np.s_[1::2])
        new = replace(
            new,
            **{name: getattr(trials, name)[kept] for name in OF_TRIALS},
            betas=new.betas[kept],
            provenance=trials.provenance | {"subject": NEW},
        )
        new.save(lab / "new.h5")
    shutil.copy(lab / f"data/prior/{SUBJECT}.h5", lab / f"data/prior/{MEMBER}.h5")
    return lab


def adapt(lab, person, to, *more):
    return fmri2img(
        lab,
        *("adapt", person, "--to", to, "--latents", f"data/latents/{SUBJECT}.h5"),
        *("--minutes", "5", "10", *more),
        check=False,
    )


@pytest.fixture(scope="module")
def adapted(lab):
    result = adapt(lab, "new.h5", "adapted")
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_ninth_subject_gets_an_encoder_and_a_page_that_says_how_good_it_is(lab, adapted):
    numbers = json.loads((lab / "adapted/adaptation.json").read_text())
    assert (numbers["subject"], numbers["population"]) == (NEW, [MEMBER])
    assert numbers["data_source"] == "simulated"
    minutes = [one["minutes"] for one in numbers["durations"]]
    assert minutes[:2] == [5, 10]
    assert numbers["durations"][0]["n_trials"] < 75  # without test images
    assert numbers["durations"][-1]["n_trials"] == numbers["n_trials"]
    for one in numbers["durations"]:
        for name in ("pattern_correlation", "two_way"):
            assert one[name]["low"] < one[name]["value"] < one[name]["high"]
            assert one[name]["floor"] < one[name]["value"]
        assert 0 < one["error_stated"] < 1.2
    page = (lab / "adapted/adaptation.html").read_text()
    assert "Simulated data" in page
    assert f"population: {MEMBER}" in page
    assert adapted.splitlines()[0].lstrip().startswith("5 min     69 trials  latent r")
    assert "SIMULATED DATA" in adapted
    encoder, config = load_encoder(lab / "adapted", subject=NEW, model=MODEL)
    assert config["about"]["population"] == MEMBER
    assert encoder.n_voxels == TrialBetas.open(lab / "new.h5", remedy="").n_voxels


def test_its_encoder_decodes(lab, adapted):
    fmri2img(lab, "export", "new.h5", "--to", "new.npz")
    with np.load(lab / "new.npz") as whole:
        arrays = {name: whole[name] for name in whole.files}
    few = arrays["image_ids_0based"] == arrays["image_ids_0based"][0]
    n_trials = len(few)
    np.savez(
        lab / "few.npz",
        **{
            name: values[few] if values.ndim and len(values) == n_trials else values
            for name, values in arrays.items()
        },
    )
    fmri2img(lab, "decode", "few.npz", "--model", "adapted", "--to", "pictures")
    assert len(list((lab / "pictures").glob("*.png"))) == 1


def test_no_test_trial_is_looked_at(lab, adapted):
    new = TrialBetas.open(lab / "new.h5", remedy="")
    assert new.is_shared.any()
    betas = new.betas.copy()
    betas[new.is_shared] = 9_999
    replace(new, betas=betas).save(lab / "altered.h5")
    assert adapt(lab, "altered.h5", "again").returncode == 0
    for name in ("model.safetensors", "adaptation.json"):
        assert (lab / "again" / name).read_bytes() == (lab / "adapted" / name).read_bytes()


def test_images_of_its_split_are_left_out_too(lab, adapted):
    """A random split tests on images that the dataset does not set apart, and on some that are
    shown later than the first minutes.
    """
    new = TrialBetas.open(lab / "new.h5", remedy="")
    pictures = [lab / f"data/prior/{name}.h5" for name in (SUBJECT, MEMBER)]
    before_that = Latents.open(pictures[0], remedy="")
    prior = replace(before_that, image_ids=before_that.image_ids + 100_000)  # nobody saw them
    later = prior.image_ids[:5]
    tested = np.union1d(np.unique(new.image_ids[~new.is_shared])[::10], later)
    rest = np.setdiff1d(new.image_ids, tested).tolist()
    path = lab / f"data/splits/{NEW}.json"
    Split("random", tuple(rest[1:]), (rest[0],), tuple(tested.tolist())).save(path)
    betas, values = new.betas.copy(), prior.values.copy()
    betas[np.isin(new.image_ids, tested)] = 9_999
    values[:5] = 99
    replace(new, betas=betas).save(lab / "split.h5")

    def with_prior(latents):
        for file in pictures:
            file.unlink(missing_ok=True)  # it may be a link to the miniature's
            latents.save(file)

    try:
        with_prior(prior)
        codes = [adapt(lab, "new.h5", "one").returncode]
        with_prior(replace(prior, values=values))
        codes += [adapt(lab, "split.h5", "two").returncode]
    finally:
        path.unlink()
        with_prior(before_that)
    assert codes == [0, 0]
    one, two, before = (
        (lab / name / "model.safetensors").read_bytes() for name in ("one", "two", "adapted")
    )
    assert one == two != before


def test_a_member_that_saw_a_test_image_is_refused(lab, adapted):
    new = TrialBetas.open(lab / "new.h5", remedy="")
    member = VoxelPriors.open(lab / f"data/population/{MODEL}/{MEMBER}.h5", remedy="")
    image = new.image_ids[new.is_shared][0]
    replace(member, image_ids=np.union1d(member.image_ids, [image])).save(lab / "member.h5")
    result = adapt(lab, "new.h5", "none", "--population", "member.h5")
    assert result.returncode == 1
    assert f"{MEMBER} learnt from 1 of the" in result.stderr
    assert not (lab / "none").exists()


def test_durations_that_cannot_be_judged_are_left_out(lab, adapted):
    """A handful of trials, or nearly all of them, against which all would be no news."""
    n_trials = len(TrialBetas.open(lab / "new.h5", remedy="").image_ids)
    nearly = str((n_trials - 1) * 4 / 60)
    result = adapt(lab, "new.h5", "again", "--minutes", "0.2", "5", nearly)
    assert result.returncode == 0, result.stderr
    numbers = json.loads((lab / "again/adaptation.json").read_text())
    assert [one["minutes"] for one in numbers["durations"]] == [5, round(n_trials * 4 / 60, 2)]


def test_pictures_of_another_autoencoder_are_refused(lab, adapted):
    latents = Latents.open(lab / f"data/latents/{SUBJECT}.h5", remedy="")
    other = latents.provenance["autoencoder"] | {"sha256": "0", "name": "another"}
    about = latents.provenance | {"autoencoder": other}
    replace(latents, provenance=about).save(lab / "other.h5")
    result = fmri2img(lab, "adapt", "new.h5", "--to", "none", "--latents", "other.h5", check=False)
    assert result.returncode == 1
    assert "adapt: the pictures of the prior were encoded by" in result.stderr


@pytest.mark.parametrize(
    ("n_images", "words"),
    [
        (4, "is what the population knows, and little else"),
        (3, "decodes every response to the mean picture"),
    ],
)
def test_too_few_trials_are_said(lab, n_images, words):
    new = TrialBetas.open(lab / "new.h5", remedy="")
    first = np.flatnonzero(~new.is_shared & (new.repetition == 0))[:n_images]
    of_trials(new, first).save(lab / "few.h5")
    result = adapt(lab, "few.h5", "few")
    assert result.returncode == 0, result.stderr
    line = f"{n_images} images are too few to hold any out, so nothing can be said of the "
    assert f"{line}encoder's quality: it {words}." in result.stdout
    encoder, _ = load_encoder(lab / "few", subject=NEW, model=MODEL)
    assert bool(encoder.gains.any()) == (n_images == 4)


def test_trials_of_test_images_alone_teach_nothing(lab):
    new = TrialBetas.open(lab / "new.h5", remedy="")
    of_trials(new, np.flatnonzero(new.is_shared)).save(lab / "tests.h5")
    result = adapt(lab, "tests.h5", "none")
    assert result.returncode == 1
    n_trials = int(new.is_shared.sum())
    assert f"{NEW}: all {n_trials} trials showed test images, expected some" in result.stderr


def test_pictures_without_latents_are_refused(lab):
    new = TrialBetas.open(lab / "new.h5", remedy="")
    unknown = new.image_ids[~new.is_shared].min()
    latents = Latents.open(lab / f"data/latents/{SUBJECT}.h5", remedy="")
    latents.only(latents.image_ids[latents.image_ids != unknown]).save(lab / "most.h5")
    result = fmri2img(lab, "adapt", "new.h5", "--to", "none", "--latents", "most.h5", check=False)
    assert result.returncode == 1
    assert "trials showed pictures without latents, image" in result.stderr


def test_a_population_with_another_description_of_pictures_is_refused(lab):
    member = VoxelPriors.open(lab / f"data/population/{MODEL}/{MEMBER}.h5", remedy="")
    fewer = replace(member, means=member.means[:, :-1], covariances=member.covariances[:, :-1, :-1])
    fewer.save(lab / "fewer.h5")
    result = adapt(lab, "new.h5", "none", "--population", "fewer.h5")
    assert result.returncode == 1
    n_channels = member.means.shape[1]
    assert f"population: {MEMBER} has {n_channels - 1} channels and" in result.stderr
    assert f"expected {n_channels} and" in result.stderr


def test_a_subject_of_the_project_is_adapted_to_by_its_name(lab):
    member = VoxelPriors.open(lab / f"data/population/{MODEL}/{MEMBER}.h5", remedy="")
    others = member.image_ids + 100_000  # a member who saw this subject's pictures is refused
    replace(member, image_ids=others).save(lab / "stranger.h5")
    result = adapt(lab, SUBJECT, "by_name", "--population", "stranger.h5")
    assert result.returncode == 0, result.stderr
    numbers = json.loads((lab / "by_name/adaptation.json").read_text())
    assert (numbers["subject"], numbers["population"]) == (SUBJECT, [MEMBER])
    assert [one["minutes"] for one in numbers["durations"]][:2] == [5, 10]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nobody",), "data/voxels/nobody.h5 not found"),
        (("new.h5", "--population", "nowhere"), "nowhere: nothing learnt from people other than"),
        (("new.h5", "--seconds-per-trial", "0"), "expected times above 0"),
        (
            ("new.h5", "--population", *[f"data/population/{MODEL}/{MEMBER}.h5"] * 2),
            f"population: {MEMBER} is given 2 times, expected every person once",
        ),
    ],
)
def test_what_cannot_be_adapted_is_one_line(lab, arguments, line):
    person, *more = arguments
    result = adapt(lab, person, "none", *more)
    assert result.returncode == 1
    assert line in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (lab / "none").exists()


def test_a_population_is_learnt_and_its_encoder_is_scored_as_all_are(lab):
    options = ("--subject", SUBJECT, "--model", MODEL)
    stage(lab, "fingerprint")
    stage(lab, "learn_population", *options)
    assert (lab / f"data/population/{MODEL}/{SUBJECT}.h5").exists()
    stage(lab, "train", *options)
    config = json.loads((lab / f"models/{SUBJECT}/{MODEL}/config.json").read_text())
    assert config["about"]["population"] == MEMBER  # and not the subject itself
    stage(lab, "predict", *options)
    stage(lab, "evaluate", *options)
    document = json.loads((lab / f"reports/metrics/{SUBJECT}/{MODEL}.json").read_text())
    assert {"model", "ridge", "shuffled"} <= set(document["rows"])
    assert (lab / f"reports/runs/{SUBJECT}/{MODEL}.html").exists()
    client = mlflow.MlflowClient(f"sqlite:///{lab}/mlflow.db")
    version = client.get_model_version(f"fmri2img-{MODEL}-{SUBJECT}", "1")
    assert f"with voxel priors of {MEMBER}" in version.description
    name = f"population-{MODEL}-{SUBJECT}"
    assert f"**Voxels** of {SUBJECT}" in client.get_model_version(name, "1").description
    stage(lab, "learn_population", *options)  # the same bytes are the same version
    assert len(client.search_model_versions(f"name = '{name}'")) == 1
    listed = fmri2img(lab, "list").stdout
    assert f"fmri2img-{MODEL}-{SUBJECT}" in listed
    assert "\npopulation-" not in listed  # encoders only
    # Whoever saw the same pictures is refused: they could be learnt from.
    result = adapt(lab, "new.h5", "none", "--population", f"models:/{name}/1")
    assert result.returncode == 1
    assert f"population: {SUBJECT} learnt from" in result.stderr
    # Removing the model takes both out of use.
    removed = fmri2img(lab, "remove", MODEL).stdout
    assert f"registry: models:/fmri2img-{MODEL}-{SUBJECT}/1 is retired" in removed
    assert f"registry: models:/{name}/1 is retired" in removed
    assert "retired" in client.get_model_version(name, "1").tags
