"""NSD-synthetic, as the simulator writes it: read back to the same numbers, and what is refused."""

import h5py
import numpy as np
import pytest
import scipy.io

from conftest import ONE_PROCESS, SUBJECT, linked, raw_files_of
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.datasets import simulated_dataset
from fmri2img.datasets.fetching.subset import name_subset
from fmri2img.datasets.nsd.paths import (
    SYNTHETIC,
    SYNTHETIC_DESIGN,
    SYNTHETIC_STIMULI,
    on_disk,
    synthetic_colours,
)
from fmri2img.datasets.nsd.synthetic import (
    FRAME,
    N_IMAGES,
    N_SHARED,
    N_TRIALS,
    _read_betas,
    as_in_main_experiment,
    read_synthetic,
)
from fmri2img.datasets.protocol import Setting
from fmri2img.datasets.simulation.raw_formats import matlab_file
from fmri2img.datasets.simulation.synthetic_session import write_synthetic
from fmri2img.project.config import SessionLimits
from fmri2img.project.exceptions import (
    ConfigError,
    FormatError,
    MismatchError,
    MissingDataError,
)
from fmri2img.provenance.receipts import Ledger, unwatched

SIDE = 64
COLOURS = synthetic_colours(SUBJECT)


@pytest.fixture(scope="module")
def tree(miniature, tmp_path_factory):
    """A tree with the files of NSD-synthetic, and their paths; not to be changed."""
    root = linked(miniature.root, tmp_path_factory.mktemp("synthetic") / "raw")
    subject = type(miniature.subject)(SUBJECT, miniature.nsd, root)
    return root, write_synthetic(subject)


@pytest.fixture(scope="module")
def voxels(miniature):
    """The main experiment's voxels: those that see, without their trials."""
    place = np.argwhere(miniature.subject.visual_mask)[::3]
    n_voxels = len(place)
    return TrialBetas(
        voxel_ijk=place.astype(np.int16),
        roi_labels=np.ones(n_voxels, np.int16),
        ncsnr=np.ones(n_voxels, np.float32),
        training_ncsnr=np.full(n_voxels, np.nan, np.float32),
        in_brain=np.ones(n_voxels, bool),
        sessions=np.array([1], np.int16),
        valid=np.ones((1, n_voxels), bool),
        saturated=np.zeros((1, n_voxels), np.int16),
        affine=np.eye(4),
        provenance={
            "subject": SUBJECT,
            "grid": list(miniature.subject.brain_mask.shape),
            "roi_names": {"1": "visual"},
            "units": {"name": "percent signal change", "per_unit": 300.0},
            "data_source": "simulated",
        },
        betas=np.zeros((2, n_voxels), np.int16),
        image_ids=np.arange(2),
        is_shared=np.zeros(2, bool),
        session=np.ones(2, np.int16),
        run=np.ones(2, np.int16),
        trial=np.array([1, 2], np.int16),
        repetition=np.zeros(2, np.int8),
    )


def read(root, paths, voxels, nsd):
    raw = raw_files_of(f"{SUBJECT}-{SYNTHETIC}", root, paths)
    return read_synthetic(raw, voxels, nsd, SessionLimits(), image_size=SIDE)


@pytest.fixture(scope="module")
def result(tree, voxels, miniature):
    return read(*tree, voxels, miniature.nsd)


def test_every_beta_is_that_of_the_file_at_the_voxels_place(result, tree, voxels, miniature):
    examples, _ = result
    root, _ = tree
    with h5py.File(on_disk(root, miniature.subject.files.synthetic_betas("b3", "hdf5"))) as file:
        stored = file["betas"][()]
    assert stored.shape[0] == N_TRIALS
    shown = scipy.io.loadmat(on_disk(root, SYNTHETIC_DESIGN))["masterordering"][0].astype(int) - 1
    order = [trial for image in examples.image_ids for trial in np.flatnonzero(shown == image)]
    i, j, k = voxels.voxel_ijk.T
    np.testing.assert_array_equal(examples.betas, stored[order][:, k, j, i])
    np.testing.assert_array_equal(examples.trial_image_ids, shown[order])
    numbers, counts = np.unique(examples.repetitions_of(np.arange(N_IMAGES)), return_counts=True)
    assert dict(zip(numbers.tolist(), counts.tolist(), strict=True)) == {2: 236, 4: 32, 8: 8, 10: 8}
    np.testing.assert_array_equal(examples.is_shared, examples.image_ids < N_SHARED)


def test_it_says_what_it_is(result):
    examples, pictures = result
    assert examples.provenance["ood"] == SYNTHETIC
    assert examples.provenance["data_source"] == "simulated"
    assert examples.provenance["left_out"] == 0
    assert list(examples.provenance["receipts"]) == [f"{SUBJECT}-{SYNTHETIC}"]
    assert pictures.images.shape == (N_IMAGES, 425, 425, 3)
    assert examples.images.shape == (N_IMAGES, SIDE, SIDE, 3)
    np.testing.assert_array_equal(pictures.image_ids, examples.image_ids)


def test_both_formats_hold_the_same_betas(tree, voxels, miniature):
    raw = raw_files_of(f"{SUBJECT}-{SYNTHETIC}", *tree)
    hdf5, nifti = (
        _read_betas(
            raw,
            miniature.subject.files,
            voxels,
            miniature.nsd.model_copy(update={"beta_format": form}),
            SessionLimits(),
        )
        for form in ("hdf5", "nii.gz")
    )
    assert hdf5.any()
    np.testing.assert_array_equal(hdf5, nifti)


def test_a_picture_is_the_square_in_the_middle_and_not_proportional_to_the_light():
    values = np.linspace(0, 255, 714).astype(np.uint8)
    picture = np.full(FRAME, 7, np.uint8)
    picture[:, 323:1037] = values[:, None, None]
    seen = as_in_main_experiment(picture)
    assert seen.shape == (425, 425, 3)
    assert (seen.std(axis=1) == 0).all()  # nothing of the frame
    np.testing.assert_allclose(seen[[212], 0, 0], np.sqrt(values[357] / 255) * 255, atol=2)


def test_responses_are_on_the_scale_of_the_main_experiment(miniature):
    subject = miniature.subject
    seen = subject.signal_of("b3", subject._pictures)
    without_category = subject.voxel_model("b3").category_share == 0
    expected = subject.signal("b3")
    assert without_category.any()
    np.testing.assert_allclose(
        seen[:, without_category], expected[:, without_category], rtol=0, atol=1e-4
    )


def write_order(path, order):
    path.unlink()
    path.write_bytes(matlab_file({"masterordering": np.asarray(order, np.uint16)}))


def read_order_of(path):
    return scipy.io.loadmat(path)["masterordering"]


def one_number_more(path):
    write_order(path, np.append(read_order_of(path), [[1]], axis=1))


def a_picture_too_often(path):
    order = read_order_of(path)
    order[0, 0] = order[0, 0] % N_IMAGES + 1
    write_order(path, order)


def a_number_too_large(path):
    order = read_order_of(path)
    order[0, 3] = N_IMAGES + 1
    write_order(path, order)


def other_pictures(path):
    path.unlink()
    with h5py.File(path, "w") as file:
        file["imgBrick"] = np.full((N_SHARED, 8, 9, 3), 5, np.uint8)


def no_betas(path):
    with h5py.File(path, "r+") as file:
        shape = file["betas"].shape
        del file["betas"]
        file["betas"] = np.zeros(shape, np.int16)


def other_trials(path):
    with h5py.File(path, "r+") as file:
        betas = file["betas"][:-1]
        del file["betas"]
        file["betas"] = betas


@pytest.mark.parametrize(
    ("file", "change", "line"),
    [
        (SYNTHETIC_DESIGN, one_number_more, r"should have shape \(1, 744\), got \(1, 745\)"),
        (SYNTHETIC_DESIGN, a_picture_too_often, "pictures by number of showings are"),
        (SYNTHETIC_DESIGN, a_number_too_large, r"285 at \(1, 4\) .* numbers from 1 to 284"),
        (SYNTHETIC_STIMULI, other_pictures, r"a picture has shape \(8, 9, 3\)"),
        ("betas", no_betas, "no voxel varies over its 744 trials"),
        ("betas", other_trials, r"of shape \(x, y, z, 744\), got int16"),
    ],
)
def test_files_of_another_form_are_one_line(file, change, line, tree, voxels, miniature, tmp_path):
    root, paths = tree
    path = miniature.subject.files.synthetic_betas("b3", "hdf5") if file == "betas" else file
    changed = linked(root, tmp_path / "raw", path)
    change(on_disk(changed, path))
    with pytest.raises(FormatError, match=line) as raised:
        read(changed, paths, voxels, miniature.nsd)
    assert f"fetch_ood@{SUBJECT}-{SYNTHETIC}" in str(raised.value)


def test_a_picture_that_shows_nothing_in_the_middle_is_left_out(tree, voxels, miniature, tmp_path):
    root, paths = tree
    changed = linked(root, tmp_path / "raw", COLOURS)
    with h5py.File(on_disk(changed, COLOURS), "r+") as file:
        picture = np.full(FRAME, 64, np.uint8)
        picture[300:400, :300] = 200  # a word beside the square
        file["imgBrick"][5] = picture
    examples, pictures = read(changed, paths, voxels, miniature.nsd)
    assert N_SHARED + 5 not in examples.image_ids
    assert N_SHARED + 5 not in examples.trial_image_ids
    assert len(examples.image_ids) == len(pictures.image_ids) == N_IMAGES - 1
    assert examples.provenance["left_out"] == 1


def test_time_series_and_voxels_in_another_order_are_refused(tree, voxels, miniature):
    series = miniature.nsd.model_copy(update={"responses": "timeseries"})
    with pytest.raises(ConfigError, match="nsdsynthetic is read from betas, and the project's"):
        read(*tree, voxels, series)
    first = miniature.nsd.model_copy(update={"beta_version": "b1"})
    with pytest.raises(ConfigError, match="has the beta versions b2 and b3, and the project reads"):
        read(*tree, voxels, first)
    turned = type(voxels)(**{**vars(voxels), "voxel_ijk": voxels.voxel_ijk[::-1]})
    with pytest.raises(MismatchError, match="not in the order of the volume; run: dvc repro"):
        read(*tree, turned, miniature.nsd)


def test_it_is_simulated_from_the_main_experiment_and_never_over_other_files(miniature, tmp_path):
    machine = ONE_PROCESS.model_copy(update={"raw_root": str(tmp_path / "raw")})
    dataset = simulated_dataset.Reader(miniature.nsd, Setting(machine, (SUBJECT,), tmp_path))
    name = f"{SUBJECT}-{SYNTHETIC}"
    line = f"simulated files of {SUBJECT}, from which those of nsdsynthetic are made, are not here"
    with pytest.raises(MissingDataError, match=line):
        dataset.fetch_ood(name, Ledger(None), watch=unwatched)
    assert not (tmp_path / "raw").exists()
    measured = on_disk(tmp_path / "raw", SYNTHETIC_DESIGN)
    measured.parent.mkdir(parents=True)
    measured.write_bytes(b"as it was measured")
    with pytest.raises(ConfigError, match="holds files that are not simulated"):
        dataset.fetch_ood(name, Ledger(None), watch=unwatched)
    assert measured.read_bytes() == b"as it was measured"


def test_its_files_are_those_of_one_subject_and_one_version(miniature):
    dataset = miniature.dataset
    assert dataset.facts.ood == (SYNTHETIC,)
    paths = miniature.subject.files
    subset = name_subset(f"{SUBJECT}-{SYNTHETIC}", miniature.nsd)
    betas = paths.synthetic_betas("b3", "hdf5")
    assert subset.required == (SYNTHETIC_DESIGN, SYNTHETIC_STIMULI, COLOURS, betas)
    assert paths.synthetic_valid() in subset.optional
    assert str(paths.synthetic_betas("b2", "nii.gz")).endswith(
        "func1pt8mm/nsdsyntheticbetas_fithrf/betas_nsdsynthetic.nii.gz"
    )
    assert str(paths.synthetic_valid()).endswith("func1pt8mm/valid_nsdsynthetic.nii.gz")
