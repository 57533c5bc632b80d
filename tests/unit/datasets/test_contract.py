"""What every dataset has to keep, for all that are registered; and each declared fact broken."""

import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from conftest import REPOSITORY
from datasets import (
    PERSON,
    SIDE,
    folder,
    laion,
    nsd_copy,
    pictures_in_hdf5,
    simulated,
    write_folder,
    write_volumes,
)
from fmri2img.containers.examples import Examples
from fmri2img.containers.splits import split_images
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.datasets.contract import check_betas
from fmri2img.datasets.folder_dataset import Declared
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.picture_join import check_pictures, collect_truth, create_examples
from fmri2img.datasets.protocol import (
    Resources,
    check_subjects,
    dataset_names,
    public_part,
    terms_of,
)
from fmri2img.datasets.regions import read_region
from fmri2img.project.config import ConvertRoiParams, ExtractBetasParams, TimeseriesParams
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError
from fmri2img.provenance.receipts import Ledger, RawFiles, unwatched

WINDOWS = TimeseriesParams(window_seconds=[4.0, 8.0], baseline_seconds=[-4.0, 0.0])
ALL = ExtractBetasParams(labels="all", recompute_ncsnr=False, min_ncsnr=0.0, timeseries=WINDOWS)
REGIONS = {"laion": "laion"} | dict.fromkeys(
    ("folder", "folder of NIfTI", "folder of GLMsingle"), "visual"
)


@pytest.fixture(scope="module")
def experiments(miniature, small_laion, tmp_path_factory):
    """Each dataset, with one of its subjects."""
    root = write_folder(tmp_path_factory.mktemp("folder") / "raw")
    nifti = write_volumes(tmp_path_factory.mktemp("nifti") / "raw", ".nii.gz")
    glmsingle = write_volumes(tmp_path_factory.mktemp("glmsingle") / "raw", ".mat", n_files=1)
    return {
        "nsd": (nsd_copy(miniature), "subj02"),
        "simulated": (simulated(miniature), "subj02"),
        "folder": (folder(root), PERSON),
        "folder of NIfTI": (folder(nifti), PERSON),
        "folder of GLMsingle": (folder(pictures_in_hdf5(glmsingle)), PERSON),
        "laion": (laion(small_laion), "sub01"),
    }


VARIANTS = ["folder of NIfTI", "folder of GLMsingle"]


@pytest.fixture(scope="module", params=[*dataset_names(), *VARIANTS])
def experiment(request, experiments, miniature, tmp_path_factory):
    """A dataset through all that the pipeline asks of it."""
    dataset, subject = experiments[request.param]
    return read(request.param, dataset, subject, miniature, tmp_path_factory.mktemp("read"))


def read(name, dataset, subject, miniature, workspace):
    if name == "simulated":  # written by the fixture already
        raw, shared = miniature.raw, miniature.shared
    else:
        raw, shared = (
            RawFiles(
                dataset.fetch_files(part, Ledger(None), watch=unwatched),
                dataset.setting.root,
                Ledger(None),
            )
            for part in (subject, "shared")
        )
    roi = REGIONS.get(name, "streams")
    volume = dataset.read_regions(
        raw, ConvertRoiParams(roi=roi, drawn_in="func", mapping="nearest")
    )
    write_volume(workspace / "roi.nii.gz", volume.labels, volume.voxel_mm, affine=volume.affine)
    region = read_region(workspace / "roi.nii.gz", volume.table, "all", remedy="")
    resources = Resources(dataset.setting.machine, workspace / "pieces")
    trials = dataset.read_betas(raw, shared, region, ALL, resources)
    check_betas(trials, dataset.facts, subject).save(workspace / "voxels.h5")
    trials = TrialBetas.open(workspace / "voxels.h5", remedy="", subject=subject)
    create_examples(trials, dataset, raw, shared, image_size=16).save(workspace / "examples.h5")
    examples = Examples.open(workspace / "examples.h5", remedy="", subject=subject)
    return dataset, trials, examples, raw, shared


def test_every_registered_dataset_is_here(experiments):
    assert sorted(experiments) == sorted([*dataset_names(), *VARIANTS])


def test_voxels_are_those_of_the_region_in_order(experiment):
    _, trials, *_ = experiment
    ijk = trials.voxel_ijk.astype(int)
    assert (np.lexsort(ijk.T[::-1]) == np.arange(trials.n_voxels)).all()
    assert {str(label) for label in trials.roi_labels} <= set(trials.provenance["roi_names"])


def test_facts_travel_with_the_voxels(experiment):
    dataset, trials, examples, *_ = experiment
    for container in (trials, examples):
        assert container.provenance["title"] == dataset.facts.title
        assert container.provenance["terms"] == dataset.facts.terms
        assert container.n_repetitions == dataset.facts.n_repetitions
        assert container.provenance["units"]["name"] == dataset.facts.units.name


def test_betas_are_finite_or_missing_and_repetitions_are_counted(experiment):
    dataset, trials, examples, *_ = experiment
    betas = examples.in_units(np.arange(len(examples.betas)))
    assert betas.dtype == np.float32
    assert np.isfinite(betas).mean() > 0.9
    counts = examples.repetitions_of(examples.image_ids)
    assert counts.max() <= dataset.facts.n_repetitions
    assert trials.repetition.max() == counts.max() - 1


def test_pictures_are_as_large_as_declared_and_those_of_the_trials(experiment):
    dataset, _, examples, raw, shared = experiment
    ids = examples.image_ids[[0, -1]]
    truth = collect_truth(ids, dataset, raw, shared).images
    pictures = np.stack([picture for _, picture in truth.blocks()])
    assert pictures.shape == (2, dataset.picture_side, dataset.picture_side, 3)
    small = examples.images[[0, -1]].mean(axis=(1, 2))
    np.testing.assert_allclose(small, pictures.mean(axis=(1, 2)), atol=6)


def test_images_that_are_set_apart_become_the_test_set(experiment):
    _, _, examples, *_ = experiment
    split = split_images(
        examples.image_ids,
        examples.is_shared,
        kind="shared",
        validation_fraction=0.2,
        n_train_random=1,
        rng=np.random.default_rng(0),
    )
    np.testing.assert_array_equal(split.ids("test"), examples.image_ids[examples.is_shared])


def test_nobody_but_simulated_data_is_free_of_terms():
    assert {name: bool(terms_of(name)) for name in dataset_names()} == {
        "folder": True,
        "laion": True,
        "nsd": True,
        "simulated": False,
    }
    assert "not known" in terms_of("")


def test_what_everybody_may_have():
    assert {name: public_part(name) for name in dataset_names()} == {
        "folder": "declared",
        "laion": "responses",
        "nsd": "nothing",
        "simulated": "everything",
    }
    assert public_part("") == "nothing"


def test_an_unknown_subject_gets_near_names(experiment):
    dataset = experiment[0]
    near = dataset.facts.subjects[0]
    with pytest.raises(ConfigError, match=rf"has no subject '{near}x' \(did you mean {near}"):
        check_subjects([f"{near}x"], dataset.facts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": "berta"}, r"anna: the betas belong to berta; .*\(subjects\)"),
        ({"ids": "numbers"}, r"image ids are <U6, not numbers; .*\(ids\)"),
        (
            {"units": {"name": "percent", "per_unit": 1.0}},
            r"betas are in percent, not in z-score; .*\(units\)",
        ),
        ({"n_repetitions": 3}, r"image cup-00 was shown 4 times, not 3; .*\(n_repetitions\)"),
        ({"splits": ["random"]}, r"splits are \['random'\]; .*\(splits\)"),
        (
            {"missing": "refused"},
            r"trial 3, voxel \d+ \(from 0\) has no finite beta; .*\(missing\)",
        ),
    ],
)
def test_a_declared_fact_that_does_not_hold_is_one_line(
    experiments, miniature, tmp_path, changes, message
):
    dataset, subject = experiments["folder"]
    _, trials, *_ = read("folder", dataset, subject, miniature, tmp_path)
    facts = {key: changes[key] for key in ("ids", "n_repetitions", "missing") if key in changes}
    stated = {key: value for key, value in changes.items() if key not in facts}
    with pytest.raises(MismatchError, match=message) as caught:
        check_betas(
            replace(trials, provenance=trials.provenance | stated),
            replace(dataset.facts, **facts),
            subject,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["table", "volumes"])
@pytest.mark.parametrize("factor", [1000, 0.001])
def test_betas_in_another_unit_are_one_line(form, factor, miniature, tmp_path):
    root = tmp_path / "raw"
    if form == "table":
        path = write_folder(root) / PERSON / "betas.npy"
    else:
        path = write_volumes(root, ".npy", n_files=1) / PERSON / "betas.npy"
    np.save(path, np.load(path) * np.float32(factor))
    with pytest.raises(
        MismatchError, match=r"an SD of .* expected 0.05 to 20 in z-score; .*\(units\)"
    ):
        read("folder", folder(root), PERSON, miniature, tmp_path)


def test_missing_betas_in_volumes_are_refused_where_so_declared(miniature, tmp_path):
    root = write_volumes(tmp_path / "raw", ".hdf5", missing="refused")
    with pytest.raises(MismatchError, match=r"trial 3, voxel \d+ .* has no finite beta"):
        read("folder", folder(root), PERSON, miniature, tmp_path)


def test_a_picture_of_another_size_is_one_line(miniature, tmp_path):
    dataset = folder(write_folder(tmp_path / "raw", picture_side=SIDE - 1))
    with pytest.raises(
        MismatchError,
        match=rf"image cup-00 is uint8 of shape \({SIDE}, {SIDE}, 3\), expected uint8 of \(47",
    ):
        read("folder", dataset, PERSON, miniature, tmp_path)


@pytest.mark.parametrize(
    ("grey", "message"),
    [
        ([[5, 9, 9, 5]] * 3, "all 3 pictures are the same picture, expected what the subject saw"),
        ([[0] * 4, [7] * 4, [7] * 4], "all 3 pictures are of one colour each"),
    ],
)
def test_pictures_that_show_nothing(grey, message):
    pictures = np.repeat(np.array(grey, np.uint8).reshape(3, 2, 2, 1), 3, axis=3)
    with pytest.raises(MismatchError, match=message):
        list(check_pictures(iter(pictures), np.arange(3), 2))
    shown = [*pictures, np.arange(12, dtype=np.uint8).reshape(2, 2, 3)]
    assert len(list(check_pictures(iter(shown), np.arange(4), 2))) == 4
    assert len(list(check_pictures(iter(pictures[:1]), np.arange(1), 2))) == 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ids", "colours", r"dataset.yaml, line 1: ids: got 'colours'"),
        ("n_repetitions", 0, r"n_repetitions: got 0; input should be greater than or equal to 1"),
        ("title", None, r"title: key is missing|title: got None"),
        ("missing", "maybe", r"missing: got 'maybe'"),
    ],
)
def test_what_is_declared_wrongly_is_one_line(tmp_path, key, value, message):
    root = write_folder(tmp_path / "raw")
    declared = yaml.safe_load((root / "dataset.yaml").read_text()) | {key: value}
    (root / "dataset.yaml").write_text(yaml.safe_dump(declared))
    with pytest.raises(ConfigError, match=message) as caught:
        _ = folder(root).facts
    assert "\n" not in str(caught.value)


def test_the_declaration_of_the_documentation_is_valid():
    page = (REPOSITORY / "docs/own-data.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(title:.*?)```", page, re.DOTALL)
    declared = Declared.model_validate(yaml.safe_load(text))
    assert set(yaml.safe_load(text)) == set(Declared.model_fields)
    assert declared.subjects == ["anna"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("pictures.csv", "cup-00.png", "../../secret.png", r"expected files below pictures"),
        ("pictures.csv", "cup-01,", "cup-00,", r"image cup-00 appears twice"),
        ("anna/trials.csv", "image_id", "picture", r"no column image_id among session, run, trial"),
        ("anna/voxels.csv", "1,2,3,", "x,2,3,", r"column i: got 'x', expected whole numbers"),
    ],
)
def test_a_table_that_is_wrong_is_one_line(miniature, tmp_path, file, old, new, message):
    root = write_folder(tmp_path / "raw")
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    with pytest.raises(FormatError, match=message) as caught:
        read("folder", folder(root), PERSON, miniature, tmp_path)
    assert "\n" not in str(caught.value)


def test_betas_in_an_archive_are_refused(miniature, tmp_path):
    root = write_folder(tmp_path / "raw")
    betas = np.load(root / "anna/betas.npy")
    with (root / "anna/betas.npy").open("wb") as file:
        np.savez(file, betas=betas)
    with pytest.raises(FormatError, match=r"an archive of arrays; write one with numpy.save"):
        read("folder", folder(root), PERSON, miniature, tmp_path)


def test_a_declaration_that_is_not_utf_8(tmp_path):
    root = write_folder(tmp_path / "raw")
    (root / "dataset.yaml").write_bytes(b"title: \xe9")
    with pytest.raises(FormatError, match=r"dataset\.yaml: byte 7 is 0xe9, expected text in UTF-8"):
        _ = folder(root).facts
