import numpy as np
import pytest

from fmri2img.datasets.nsd.timeseries import RunFiles, read_onsets, read_session_responses
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.project.config import TimeseriesParams
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError

SHAPE, TR = (3, 4, 2), 4 / 3
ONSETS = (9, 12, 30)  # volumes, of 45
IMAGE_IDS = np.array([7, 72_999, 0])


@pytest.fixture
def mask():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1, :3, 1] = True
    return mask


@pytest.fixture
def volumes(rng):
    return rng.integers(500, 1500, (*SHAPE, 46)).astype(np.int16)


@pytest.fixture
def run(tmp_path, volumes):
    return write_run(tmp_path, volumes)


def write_run(folder, volumes, n_design=45):
    write_volume(folder / "run.nii.gz", volumes, 1.8, tr=TR)
    onsets = np.zeros(n_design, dtype=int)
    onsets[list(ONSETS)] = IMAGE_IDS + 1
    (folder / "design.tsv").write_text("".join(f"{onset}\n" for onset in onsets))
    return RunFiles(folder / "run.nii.gz", folder / "design.tsv", IMAGE_IDS)


def respond(run, mask, window=(4.0, 8.0), baseline=(-4.0, 0.0)):
    params = TimeseriesParams(window_seconds=list(window), baseline_seconds=list(baseline))
    return read_session_responses([run], mask, params, TR, remedy="dvc repro")


def test_the_response_is_window_minus_baseline_in_percent_of_the_mean(run, mask, volumes):
    series = volumes[mask].T[:45].astype(float)  # the last volume has no place in the design
    for row, onset in enumerate(ONSETS):
        # Volumes at 4, 5.33 and 6.67 s, less those at -4, -2.67 and -1.33 s.
        expected = (
            100
            * (series[onset + 3 : onset + 6].mean(axis=0) - series[onset - 3 : onset].mean(axis=0))
            / series.mean(axis=0)
        )
        np.testing.assert_allclose(respond(run, mask)[row], 300 * expected, atol=0.51)


@pytest.mark.parametrize(
    ("window", "offsets"),
    [((0.0, 1.0), [0]), ((1.0, 4.0), [1, 2]), ((4.0, 4.1), [3]), ((-1.4, 0.1), [-1, 0])],
)
def test_a_volume_counts_if_its_time_lies_in_the_window(run, mask, volumes, window, offsets):
    series = volumes[mask].T[:45].astype(float)
    expected = (
        100
        * (series[[ONSETS[0] + offset for offset in offsets]].mean(axis=0) - series[ONSETS[0] - 3])
        / series.mean(axis=0)
    )
    np.testing.assert_allclose(
        respond(run, mask, window, (-4.0, -3.9))[0], 300 * expected, atol=0.51
    )


def test_a_masked_voxel_is_zero_throughout(tmp_path, mask, volumes):
    volumes[1, 1, 1] = 0
    responses = respond(write_run(tmp_path, volumes), mask)
    assert (responses[:, 1] == 0).all()
    assert (responses[:, [0, 2]] != 0).any(axis=0).all()


def test_images_of_another_run_are_refused(run, mask):
    other = RunFiles(run.volumes, run.onsets, IMAGE_IDS[::-1])
    with pytest.raises(
        MismatchError,
        match=r"design.tsv: shows 3 images that are not the 3 of responses.tsv for this run",
    ):
        respond(other, mask)


def test_too_few_volumes(tmp_path, mask, volumes):
    with pytest.raises(
        FormatError, match=r"run.nii.gz: got 40 volumes, expected .*45 as in design.tsv"
    ):
        respond(write_run(tmp_path, volumes[..., :40]), mask)


@pytest.mark.parametrize(
    ("window", "key"),
    [
        ((4.0, 30.0), "window_seconds"),
        ((-20.0, 0.0), "window_seconds"),
        ((0.1, 0.2), "window_seconds"),
    ],
)
def test_windows_beyond_the_run_or_without_volumes(run, mask, window, key):
    with pytest.raises(
        ConfigError,
        match=rf"timeseries.{key}: .* must lie within the run for every trial; choose a window "
        r"between -12 and 20 s",
    ):
        respond(run, mask, window)


def test_a_design_that_is_no_numbers(tmp_path):
    (tmp_path / "x.tsv").write_text("0\nimage\n")
    with pytest.raises(FormatError, match="expected one whole number a line"):
        read_onsets(tmp_path / "x.tsv", remedy="dvc repro")
