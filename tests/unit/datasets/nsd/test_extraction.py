import errno
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import skimage.transform
import yaml

from commands import stage
from conftest import ONE_PROCESS, REPOSITORY, SESSIONS, SUBJECT, linked, raw_files_of
from fmri2img.containers.examples import Examples
from fmri2img.containers.ncsnr import estimate_ncsnr
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.datasets import pieces
from fmri2img.datasets.nsd import sessions
from fmri2img.datasets.nsd.betas import read_session_betas
from fmri2img.datasets.nsd.conversion import convert_roi
from fmri2img.datasets.nsd.design import read_responses
from fmri2img.datasets.nsd.extraction import extract_betas
from fmri2img.datasets.nsd.paths import STIMULI, on_disk
from fmri2img.datasets.nsd.stimuli import iterate_images
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.picture_join import check_pictures, create_examples
from fmri2img.datasets.protocol import Resources
from fmri2img.datasets.regions import read_region
from fmri2img.datasets.simulation.dataset import SimulatedSubject
from fmri2img.datasets.simulation.stimuli_files import simulate_shared
from fmri2img.project.config import ConvertRoiParams, ExtractBetasParams, TimeseriesParams
from fmri2img.project.exceptions import (
    ConfigError,
    FormatError,
    MismatchError,
    MissingDataError,
    UnavailableError,
)
from fmri2img.project.parallel import connect
from fmri2img.provenance.receipts import Receipt

WINDOWS = TimeseriesParams(window_seconds=[4.0, 8.0], baseline_seconds=[-4.0, 0.0])
ALL = ExtractBetasParams(labels="all", recompute_ncsnr=False, min_ncsnr=0.0, timeseries=WINDOWS)
NEAREST = ConvertRoiParams(roi="prf-visualrois", drawn_in="anat", mapping="nearest")


@pytest.fixture(scope="module")
def region(miniature, tmp_path_factory):
    labels, names = convert_roi(miniature.raw, miniature.nsd, NEAREST, own_rois=Path("none"))
    path = tmp_path_factory.mktemp("rois") / "roi.nii.gz"
    write_volume(path, labels, 1.8)
    return read_region(path, {"names": names}, "all", remedy="")


def extract(miniature, region, workspace, *, params=ALL, machine=ONE_PROCESS, **nsd):
    """Extract, save and read again."""
    trials = extract_betas(
        miniature.raw,
        miniature.shared,
        region,
        miniature.nsd.model_copy(update=nsd),
        params,
        estimate_ncsnr=estimate_ncsnr,
        resources=Resources(machine, workspace / "pieces"),
    )
    trials.save(workspace / "trials.h5")
    return TrialBetas.open(workspace / "trials.h5", remedy="")


def join(trials, miniature, workspace, **settings):
    files = miniature.raw, miniature.shared
    create_examples(trials, miniature.dataset, *files, **settings).save(workspace / "examples.h5")
    return Examples.open(workspace / "examples.h5", remedy="")


@pytest.fixture(scope="module")
def trials(miniature, region, tmp_path_factory):
    return extract(miniature, region, tmp_path_factory.mktemp("trials"))


@pytest.fixture(scope="module")
def examples(miniature, trials, tmp_path_factory):
    return join(trials, miniature, tmp_path_factory.mktemp("examples"), image_size=32)


def test_responses_in_another_order_are_refused(miniature, region, tmp_path):
    path = miniature.subject.files.responses()
    unread = ["nsd_stimuli.hdf5", "betas_session*.nii.gz"]
    linked(miniature.root, tmp_path / "nsd", path, without=unread)
    responses = on_disk(tmp_path / "nsd", path)
    table = pd.read_csv(responses, sep="\t", comment="#")
    table.loc[[0, 1], "73KID"] = table.loc[[1, 0], "73KID"].to_numpy()
    table.to_csv(responses, sep="\t", index=False)
    listed = [
        PurePosixPath(record.path)
        for record in miniature.raw.receipt.files
        if (tmp_path / "nsd" / record.path).exists()
    ]
    reordered = replace(miniature, raw=raw_files_of(SUBJECT, tmp_path / "nsd", listed))
    with pytest.raises(
        MismatchError,
        match=r"session 20, trial 1 showed 73KID \d+, expected \d+ by .* \(2 trials differ\)",
    ):
        extract(reordered, region, tmp_path)


@pytest.mark.functional
def test_both_formats_give_the_same_bytes(miniature, region):
    stored = [
        read_session_betas(
            on_disk(miniature.root, miniature.subject.files.betas("b3", SESSIONS[0], form)),
            region.mask,
            remedy="",
        )
        for form in ("hdf5", "nii.gz")
    ]
    np.testing.assert_array_equal(*stored)
    assert stored[0].std() > 0


def copied(miniature, tmp_path, path):
    """The miniature with a raw tree of its own, of which one file may be changed before its
    receipt is written.
    """
    linked(miniature.root, tmp_path / "nsd", path)
    return on_disk(tmp_path / "nsd", path), lambda: replace(
        miniature,
        raw=raw_files_of(
            SUBJECT,
            tmp_path / "nsd",
            [PurePosixPath(record.path) for record in miniature.raw.receipt.files],
        ),
    )


@pytest.mark.parametrize("change", ["flipped", "1 mm"])
def test_betas_of_another_grid_are_refused(miniature, region, tmp_path, change):
    """Another tool has written the file with the axis turned, or forgotten its voxel size."""
    name = miniature.subject.files.betas("b3", SESSIONS[0], "nii.gz")
    path, again = copied(miniature, tmp_path, name)
    image = nib.load(path)
    values, affine = np.asarray(image.dataobj), image.affine.copy()
    if change == "flipped":
        values, affine = values[::-1], affine @ np.diag([-1, 1, 1, 1])
    else:
        affine = np.eye(4)
    nib.Nifti1Image(values, affine, dtype=np.int16).to_filename(path)
    with pytest.raises(MismatchError, match=r"betas_session20\.nii\.gz: affine .* does not match"):
        extract(again(), region, tmp_path, beta_format="nii.gz")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (0, "no voxel varies over its 750 trials"),
        (5, "no voxel varies over its 750 trials"),
        (32_767, "no voxel varies over its 750 trials"),
        (None, "no voxel varies over its 750 trials"),
        (slice(375, None), "375 of 750 trials have no value in any voxel"),
    ],
    ids=["zeros", "constant", "saturated", "never written", "half"],
)
def test_an_empty_session_is_no_data(miniature, region, tmp_path, value, line):
    path, again = copied(
        miniature, tmp_path, miniature.subject.files.betas("b3", SESSIONS[1], "hdf5")
    )
    with h5py.File(path, "r+") as file:
        if value is None:  # allocated, and the program died
            shape = file["betas"].shape
            del file["betas"]
            file.create_dataset("betas", shape, np.int16, chunks=(750, 1, 1, 1))
        else:
            trials, value = (value, 0) if isinstance(value, slice) else (slice(None), value)
            for x, y, z in np.argwhere(region.mask):  # a chunk a voxel: all others take long
                file["betas"][trials, z, y, x] = value
    with pytest.raises(FormatError, match=rf"betas_session21\.hdf5: {line}.*; it is empty, cut or"):
        extract(again(), region, tmp_path)


def test_betas_are_those_of_the_files_voxel_by_voxel(miniature, trials):
    with h5py.File(
        on_disk(miniature.root, miniature.subject.files.betas("b3", SESSIONS[1], "hdf5"))
    ) as file:
        for column in (0, 17, trials.n_voxels - 1):
            x, y, z = trials.voxel_ijk[column]
            np.testing.assert_array_equal(trials.betas[750:, column], file["betas"][:, z, y, x])


def test_trials_agree_with_the_design_files(miniature, trials):
    files, shown = miniature.subject.files, []
    for session in SESSIONS:
        for run in range(1, 15):
            path = on_disk(miniature.root, files.design(session, run))
            if path.exists():
                shown.append(np.loadtxt(path, dtype=int))
    onsets = np.concatenate(shown)
    np.testing.assert_array_equal(trials.image_ids, onsets[onsets > 0] - 1)


def test_invalid_voxels_are_found_and_become_nan(miniature, trials, examples):
    for row, session in enumerate(SESSIONS):
        shipped = (
            nib.load(on_disk(miniature.root, miniature.subject.files.valid(session))).get_fdata()
            > 0
        )
        np.testing.assert_array_equal(trials.valid[row], shipped[tuple(trials.voxel_ijk.T)])
    percent = examples.in_units(np.arange(len(examples.betas)))
    rows = np.searchsorted(SESSIONS, examples.trial_session)
    np.testing.assert_array_equal(np.isnan(percent), ~examples.valid[rows])


def test_percent_is_a_three_hundredth(examples):
    percent = examples.in_units(np.array([3]))
    known = np.isfinite(percent[0])
    np.testing.assert_allclose(percent[0, known] * 300, examples.betas[3, known], rtol=1e-6)


def test_container_round_trip_and_equal_bytes(trials, tmp_path):
    trials.save(tmp_path / "a.h5")
    trials.save(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    again = TrialBetas.open(tmp_path / "a.h5", remedy="")
    np.testing.assert_array_equal(again.betas, trials.betas)
    assert again.provenance == trials.provenance
    assert again.provenance["data_source"] == "simulated"
    with pytest.raises(FormatError, match="expected a file of Examples, got 'TrialBetas'"):
        Examples.open(tmp_path / "a.h5", remedy="")


def test_examples_hold_every_trial_once_whatever_the_order(
    miniature, trials, examples, rng, tmp_path
):
    order = rng.permutation(len(trials.betas))
    names = ("betas", "image_ids", "is_shared", "session", "run", "trial", "repetition")
    shuffled = replace(trials, **{name: getattr(trials, name)[order] for name in names})
    again = join(shuffled, miniature, tmp_path, image_size=32)
    np.testing.assert_array_equal(again.betas, examples.betas)
    np.testing.assert_array_equal(again.images, examples.images)
    assert len(examples.betas) == 1500
    assert (np.diff(examples.trial_image_ids) >= 0).all()


def test_images_are_those_of_the_stimulus_file(miniature, examples):
    with h5py.File(on_disk(miniature.root, STIMULI)) as file:
        native = file["imgBrick"][examples.image_ids[5]]
    shrunk = skimage.transform.resize(native, (32, 32), anti_aliasing=True) * 255
    assert np.corrcoef(shrunk.ravel(), examples.images[5].ravel())[0, 1] > 0.99
    assert np.abs(shrunk - examples.images[5]).mean() < 5


def test_labels_can_be_chosen_by_name(miniature, region, tmp_path):
    chosen = replace(region, mask=np.isin(region.labels, [1, 7]))
    found = extract(miniature, chosen, tmp_path)
    assert found.n_voxels == chosen.mask.sum()
    assert set(found.roi_names) == {"V1v", "hV4"}


def test_chosen_labels_are_checked(region, tmp_path):
    path = tmp_path / "roi.nii.gz"
    write_volume(path, region.labels, 1.8)
    chosen = read_region(path, {"names": region.names}, ["V1v", "hV4"], remedy="")
    np.testing.assert_array_equal(chosen.mask, np.isin(region.labels, [1, 7]))
    with pytest.raises(
        ConfigError, match="there is no label 'V9' in this ROI; choose from: V1v, V1d"
    ):
        read_region(path, {"names": region.names}, ["V9"], remedy="")
    write_volume(path, np.zeros(region.mask.shape), 1.8)
    with pytest.raises(
        MismatchError, match="all has no voxel in this subject, expected at least one"
    ):
        read_region(path, {"names": {1: "V1v"}}, "all", remedy="")


def test_a_table_of_labels_that_are_no_numbers(tmp_path):
    path = tmp_path / "roi.nii.gz"
    write_volume(path, np.ones((2, 2, 2), np.int16), 1.8)
    for names in ({"V1v": "1"}, ["V1v"]):
        with pytest.raises(FormatError, match="expected numbers with names; run: again"):
            read_region(path, {"names": names}, "all", remedy="again")


def test_an_empty_region_is_no_choice_and_is_told(tmp_path, region, caplog):
    path = tmp_path / "roi.nii.gz"
    write_volume(path, np.where(region.labels == 1, 1, 0), 1.8)
    table = {"names": {"1": "V1v", "2": "V1d"}}
    chosen = read_region(path, table, ["V1v", "V1d"], remedy="")
    np.testing.assert_array_equal(chosen.mask, region.labels == 1)
    assert "V1d has no voxel in this subject; the others are used" in caplog.text
    for labels, error in ((["V9"], ConfigError), (["V1d"], MismatchError)):
        with pytest.raises(error, match=r"choose from: V1v$"):
            read_region(path, table, labels, remedy="")


def test_betas_on_another_grid(miniature):
    path = on_disk(miniature.root, miniature.subject.files.betas("b3", SESSIONS[0], "hdf5"))
    with pytest.raises(
        MismatchError, match=r"betas grid .* does not match the ROI grid \(3, 4, 5\)"
    ):
        read_session_betas(path, np.ones((3, 4, 5), bool), remedy="")


def test_sessions_that_responses_does_not_hold(miniature):
    path = on_disk(miniature.root, miniature.subject.files.responses())
    with pytest.raises(
        MismatchError,
        match=r"session 22 has 0 trials, expected 750, in a table of 2 sessions; name only "
        r"sessions",
    ):
        read_responses(path, [21, 22], remedy="")


def test_a_missing_raw_file_names_the_command(miniature, region, tmp_path):
    elsewhere = replace(miniature, raw=replace(miniature.raw, root=tmp_path))
    with pytest.raises(
        MissingDataError,
        match="not found, expected .* bytes; put it back, or fetch it again: dvc repro --force "
        f"--single-item fetch_raw@{SUBJECT}",
    ):
        extract(elsewhere, region, tmp_path)
    empty = replace(
        miniature, raw=replace(miniature.raw, receipt=Receipt(SUBJECT, "simulated", ()))
    )
    with pytest.raises(
        MissingDataError, match=rf"responses.tsv is not in the receipt of {SUBJECT} \(0 files\)"
    ):
        extract(empty, region, tmp_path)


def test_responses_from_time_series_resemble_the_betas_they_were_made_of(
    miniature, region, trials, tmp_path
):
    found = extract(miniature, region, tmp_path, responses="timeseries")
    assert found.betas.shape == trials.betas.shape
    np.testing.assert_array_equal(found.image_ids, trials.image_ids)
    assert np.isnan(found.ncsnr).all()
    assert found.provenance["beta_version"] == "timeseries"
    both = found.valid & trials.valid
    assert both.mean() > 0.9
    rows = np.repeat(both, 750, axis=0)

    def similarity(betas):
        return np.mean(
            [
                np.corrcoef(found.betas[rows[:, v], v], betas[rows[:, v], v])[0, 1]
                for v in np.flatnonzero(both.all(axis=0))
            ]
        )

    # Responses of neighbouring trials overlap: the window sees more than one of them.
    assert similarity(trials.betas) > 0.4
    assert abs(similarity(np.roll(trials.betas, 40, axis=0))) < 0.1


def test_what_is_known_of_each_voxel(miniature, trials):
    at = tuple(trials.voxel_ijk.T)
    files = miniature.subject.files
    ncsnr = nib.load(on_disk(miniature.root, files.ncsnr("b3"))).get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(trials.ncsnr, ncsnr[at])
    np.testing.assert_array_equal(
        trials.in_brain, nib.load(on_disk(miniature.root, files.brainmask())).get_fdata()[at] > 0
    )
    saturated = np.isin(trials.betas.reshape(2, 750, -1), (-32_768, 32_767)).sum(axis=1)
    np.testing.assert_array_equal(trials.saturated, saturated)
    assert np.isnan(trials.training_ncsnr).all()


def test_without_nsds_ncsnr_there_is_none(miniature, region, trials, tmp_path):
    path = miniature.subject.files.ncsnr("b3")
    kept = [
        PurePosixPath(record.path)
        for record in miniature.raw.receipt.files
        if record.path != str(path)
    ]
    assert len(kept) == len(miniature.raw.receipt.files) - 1
    without = replace(miniature, raw=raw_files_of(SUBJECT, miniature.root, kept))
    found = extract(without, region, tmp_path)
    assert np.isnan(found.ncsnr).all()
    np.testing.assert_array_equal(found.betas, trials.betas)


def test_training_ncsnr_sees_no_shared_image(miniature, region, trials, tmp_path):
    params = ALL.model_copy(update={"recompute_ncsnr": True})
    found = extract(miniature, region, tmp_path, params=params)
    own = ~trials.is_shared
    expected = estimate_ncsnr(
        trials.betas[own], trials.session[own], trials.image_ids[own], n_repetitions=3
    )
    np.testing.assert_array_equal(found.training_ncsnr, expected)
    everything = estimate_ncsnr(trials.betas, trials.session, trials.image_ids, n_repetitions=3)
    assert not np.array_equal(found.training_ncsnr, everything)
    np.testing.assert_array_equal(found.betas, trials.betas)


def test_a_threshold_keeps_the_better_voxels(miniature, region, trials, tmp_path):
    own = ~trials.is_shared
    training = estimate_ncsnr(
        trials.betas[own], trials.session[own], trials.image_ids[own], n_repetitions=3
    )
    threshold = float(np.nanmedian(training))
    found = extract(
        miniature, region, tmp_path, params=ALL.model_copy(update={"min_ncsnr": threshold})
    )
    kept = training >= threshold
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_array_equal(found.betas, trials.betas[:, kept])
    np.testing.assert_array_equal(found.voxel_ijk, trials.voxel_ijk[kept])
    np.testing.assert_array_equal(found.valid, trials.valid[:, kept])
    assert found.provenance["selection"]["n_voxels_before_ncsnr"] == len(kept)
    with pytest.raises(
        ConfigError, match=r"min_ncsnr: 99.0 leaves none of \d+ voxels; the best voxel has"
    ):
        extract(miniature, region, tmp_path, params=ALL.model_copy(update={"min_ncsnr": 99.0}))


@pytest.mark.functional
def test_both_formats_and_any_number_of_processes_give_the_same_file(
    miniature, region, trials, tmp_path
):
    contents = set()
    for index, (processes, form) in enumerate([(1, "hdf5"), (2, "hdf5"), (2, "nii.gz")]):
        folder = tmp_path / str(index)
        folder.mkdir()
        extract(
            miniature,
            region,
            folder,
            machine=ONE_PROCESS.model_copy(update={"n_jobs": processes}),
            beta_format=form,
        )
        contents.add((folder / "trials.h5").read_bytes())
    assert len(contents) == 1


@pytest.mark.functional
def test_a_dask_cluster_gives_the_same_file(miniature, region, trials, tmp_path):
    distributed = pytest.importorskip("distributed")
    extract(miniature, region, tmp_path)
    before = (tmp_path / "trials.h5").read_bytes()
    shutil.rmtree(tmp_path / "pieces")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        machine = ONE_PROCESS.model_copy(update={"dask_scheduler": cluster.scheduler_address})
        extract(miniature, region, tmp_path, machine=machine)
    assert (tmp_path / "trials.h5").read_bytes() == before


def test_no_dask_scheduler(miniature, region, tmp_path, monkeypatch):
    monkeypatch.setattr("fmri2img.project.parallel._CONNECT_SECONDS", 1)
    machine = ONE_PROCESS.model_copy(update={"dask_scheduler": "tcp://127.0.0.1:9"})
    with pytest.raises(
        UnavailableError,
        match=r"no Dask scheduler answers at tcp://127.0.0.1:9 .*; start one, or set it to null",
    ):
        extract(miniature, region, tmp_path, machine=machine)


def test_the_file_of_a_dask_scheduler_is_not_waited_for(tmp_path):
    file = tmp_path / "scheduler.json"
    with pytest.raises(MissingDataError, match=r"scheduler\.json not found; run: dask scheduler"):
        connect(str(file))
    file.write_text("{}")
    with pytest.raises(FormatError, match=r"scheduler\.json: address: got nothing, expected a str"):
        connect(str(file))


def test_an_extraction_that_breaks_off_goes_on_where_it_stopped(
    miniature, region, trials, tmp_path, monkeypatch
):
    def full_disk(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    whole, read = pieces.replacing, []

    def second_time(path):
        return whole(path) if not list((tmp_path / "pieces").glob("*.h5")) else full_disk(path)

    monkeypatch.setattr(pieces, "replacing", second_time)
    with pytest.raises(OSError, match="No space left on device"):
        extract(miniature, region, tmp_path)
    assert [path.suffix for path in (tmp_path / "pieces").iterdir()] == [".h5"]
    assert not (tmp_path / "trials.h5").exists()
    monkeypatch.setattr(pieces, "replacing", whole)
    original = sessions.read_session_betas
    monkeypatch.setattr(
        sessions,
        "read_session_betas",
        lambda path, *rest, **named: (read.append(path.name), original(path, *rest, **named))[1],
    )
    again = extract(miniature, region, tmp_path)
    assert read == ["betas_session21.hdf5"]
    np.testing.assert_array_equal(again.betas, trials.betas)


@pytest.mark.functional
def test_a_bad_session_among_good_ones(miniature, region, tmp_path):
    betas = miniature.subject.files.betas("b3", 21, "nii.gz")
    unread = ["nsd_stimuli.hdf5", "timeseries"]
    path = on_disk(linked(miniature.root, tmp_path / "nsd", betas, without=unread), betas)
    path.write_bytes(path.read_bytes()[:-2000])
    listed = [
        PurePosixPath(record.path)
        for record in miniature.raw.receipt.files
        if (tmp_path / "nsd" / record.path).exists()
    ]
    damaged = replace(miniature, raw=raw_files_of(SUBJECT, tmp_path / "nsd", listed))
    machine = ONE_PROCESS.model_copy(update={"n_jobs": 2})
    with pytest.raises(
        FormatError,
        match=r"betas_session21.nii.gz: damaged or cut off .*; run: dvc repro --force "
        r"--single-item fetch_raw@subj02",
    ):
        extract(damaged, region, tmp_path, machine=machine, beta_format="nii.gz")
    assert not (tmp_path / "trials.h5").exists()


def test_jobs_hold_absolute_paths(miniature, region, tmp_path, monkeypatch):
    # A Dask worker runs in a folder of its own.
    (tmp_path / "nsd").symlink_to(miniature.root)
    monkeypatch.chdir(tmp_path)
    relative = replace(
        miniature,
        raw=replace(miniature.raw, root=Path("nsd")),
        shared=replace(miniature.shared, root=Path("nsd")),
    )
    jobs, run = [], pieces.run_jobs
    monkeypatch.setattr(
        pieces,
        "run_jobs",
        lambda function, given, machine: run(function, jobs.extend(given) or jobs, machine),
    )
    extract(relative, region, Path())
    assert len(jobs) == 2
    assert all(source.path.is_absolute() and piece.is_absolute() for source, _, piece, _ in jobs)


@pytest.mark.parametrize(
    "content", [b"", b"not HDF5" * 99, None], ids=["empty", "other", "cut off"]
)
def test_a_damaged_stimulus_file(tmp_path, content):
    path = tmp_path / "stimuli.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("imgBrick", data=np.ones((4, 5, 5, 3), np.uint8), chunks=(1, 5, 5, 3))
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(FormatError, match=r"stimuli.hdf5: .*run: dvc repro"):
        list(iterate_images(path, np.arange(4), remedy="dvc repro"))


@pytest.mark.parametrize(
    "way",
    ["external storage", "external link", "soft link", "virtual", "virtual, by a part's link"],
)
def test_pictures_that_lie_in_another_file_are_refused(tmp_path, way):
    pictures = np.ones((4, 5, 5, 3), np.uint8)
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["imgBrick"] = pictures
    (tmp_path / "secret").write_bytes(pictures.tobytes())
    with h5py.File(tmp_path / "stimuli.hdf5", "w") as file:
        if way == "external storage":
            place = (tmp_path / "secret", 0, pictures.nbytes)
            file.create_dataset("imgBrick", pictures.shape, np.uint8, external=[place])
        elif way == "external link":
            file["imgBrick"] = h5py.ExternalLink(tmp_path / "other.hdf5", "imgBrick")
        elif way.startswith("virtual"):
            place = tmp_path / "other.hdf5" if way == "virtual" else "part.hdf5"
            layout = h5py.VirtualLayout(pictures.shape, np.uint8)
            layout[:] = h5py.VirtualSource(place, "imgBrick", pictures.shape)
            file.create_virtual_dataset("imgBrick", layout)
            with h5py.File(tmp_path / "part.hdf5", "w") as part:
                part["imgBrick"] = h5py.ExternalLink(tmp_path / "other.hdf5", "imgBrick")
        else:
            file["other"] = pictures
            file["imgBrick"] = h5py.SoftLink("/other")
    with pytest.raises(FormatError, match=r"stimuli.hdf5: .*expected .*run: dvc repro"):
        list(iterate_images(tmp_path / "stimuli.hdf5", np.arange(4), remedy="dvc repro"))


def test_pictures_with_a_fourth_channel_are_refused(tmp_path):
    with h5py.File(tmp_path / "stimuli.hdf5", "w") as file:
        file["imgBrick"] = np.random.default_rng(0).integers(1, 255, (4, 5, 5, 4), np.uint8)
    shown = iterate_images(tmp_path / "stimuli.hdf5", np.arange(4), remedy="")
    with pytest.raises(
        MismatchError, match=r"image 0 is uint8 of shape \(5, 5, 4\), expected uint8 of \(5, 5, 3\)"
    ):
        list(check_pictures(shown, np.arange(4), 5))


def test_pictures_beyond_the_file(tmp_path):
    with h5py.File(tmp_path / "stimuli.hdf5", "w") as file:
        file.create_dataset("imgBrick", data=np.ones((4, 5, 5, 3), np.uint8))
    with pytest.raises(
        MismatchError,
        match=r"image id 4 \(0-based\) is beyond the 4 pictures of the file; run: dvc repro",
    ):
        list(iterate_images(tmp_path / "stimuli.hdf5", np.array([1, 4]), remedy="dvc repro"))


@pytest.mark.parametrize("responses", ["betas", "timeseries"])
def test_one_millimetre_and_another_beta_version(fine_miniature, tmp_path, responses):
    raw = fine_miniature.raw
    labels, names = convert_roi(raw, fine_miniature.nsd, NEAREST, own_rois=Path("none"))
    write_volume(tmp_path / "roi.nii.gz", labels, 1.0)
    region = read_region(tmp_path / "roi.nii.gz", {"names": names}, "all", remedy="")
    trials = extract(fine_miniature, region, tmp_path, responses=responses)
    assert trials.provenance["voxel_mm"] == 1.0
    assert (
        trials.provenance["beta_version"] == {"betas": "b2", "timeseries": "timeseries"}[responses]
    )
    assert (np.unique(trials.betas) != 0).sum() > 100
    if responses == "betas":
        assert "betas_fithrf/" in str(fine_miniature.subject.files.betas("b2", 21, "hdf5"))
        with h5py.File(
            on_disk(fine_miniature.root, fine_miniature.subject.files.betas("b2", 21, "hdf5"))
        ) as file:
            x, y, z = trials.voxel_ijk[5]
            np.testing.assert_array_equal(trials.betas[:, 5], file["betas"][:, z, y, x])


@pytest.fixture(scope="module")
def fine_miniature(miniature, picture_folder, tmp_path_factory):
    """One session at 1 mm, beta version b2, with time series."""
    root = tmp_path_factory.mktemp("fine")
    simulation = miniature.nsd.simulation.model_copy(
        update={"volume_scale": 0.12, "beta_versions": ["b2"], "beta_formats": ["hdf5"]}
    )
    nsd = miniature.nsd.model_copy(
        update={
            "func_space": "func1mm",
            "beta_version": "b2",
            "sessions": [21],
            "simulation": simulation,
        }
    )
    shared = simulate_shared(root, nsd)
    subject = SimulatedSubject(SUBJECT, nsd, root)
    files = subject.write()
    return replace(
        miniature,
        root=root,
        nsd=nsd,
        subject=subject,
        raw=raw_files_of(SUBJECT, root, files),
        shared=raw_files_of("shared", root, shared),
    )


@pytest.mark.functional
def test_a_local_tree_through_the_stage(miniature, tmp_path):
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["dataset"], values["subjects"] = "nsd", [SUBJECT]
    values["population"] = [SUBJECT]
    values["datasets"]["nsd"] |= {"sessions": SESSIONS, "source": "local"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    before = sorted(miniature.root.rglob("*"))
    here = {"FMRI2IMG_RAW_ROOT": str(miniature.root)}
    result = stage(tmp_path, "fetch_raw", "--subject", SUBJECT, check=False, **here)
    assert result.returncode == 0, result.stderr
    receipt = Receipt.open(tmp_path / "data/receipts/subj02.json", remedy="")
    known = {
        record.path for raw in (miniature.raw, miniature.shared) for record in raw.receipt.files
    }
    assert {record.path for record in receipt.files} <= known
    assert receipt.data_source == "simulated"
    assert sorted(miniature.root.rglob("*")) == before
    assert not (tmp_path / "data/raw").exists()
    values["datasets"]["nsd"]["sessions"] = [19, 20]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    result = stage(tmp_path, "fetch_raw", "--subject", SUBJECT, check=False, **here)
    assert result.returncode == 1
    assert "1 of 4 files of subj02 are missing: " in result.stderr
    assert (
        "betas_session19.hdf5; complete the copy, or name in params.yaml (datasets)"
        in result.stderr
    )
