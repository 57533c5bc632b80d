import numpy as np
import pytest

from fmri2img.datasets.session_faults import session_fault

N_TRIALS, N_VOXELS = 750, 60
LARGEST = np.iinfo(np.int16).max


@pytest.fixture
def betas(rng):
    return rng.integers(-900, 900, (N_TRIALS, N_VOXELS)).astype(np.int16)


def test_responses_pass(betas):
    assert session_fault(betas) == ""
    betas[:, :50] = 0  # cut off by head motion
    betas[:10] = 0
    betas[:20, 55] = LARGEST
    assert session_fault(betas) == ""
    percent = betas.astype(np.float32) / 300
    percent[:, 3] = percent[5, 7] = np.nan
    assert session_fault(percent) == ""


@pytest.mark.parametrize("value", [0, 5, LARGEST])
def test_a_session_of_one_value_is_refused(betas, value):
    betas[:] = value
    assert session_fault(betas) == "no voxel varies over its 750 trials, expected responses"


def test_missing_values_that_are_declared_pass(betas):
    """NaN of scrubbed runs, and a small region that lies outside the volume in a session."""
    percent = betas.astype(np.float32) / 300
    percent[:200] = np.nan
    assert session_fault(percent) == session_fault(percent[198:230]) == ""
    assert session_fault(np.full((N_TRIALS, N_VOXELS), np.nan, np.float32)) == ""
    assert session_fault(np.zeros((N_TRIALS, 20), np.int16)) == ""
    assert "no voxel varies" in session_fault(np.zeros((N_TRIALS, N_VOXELS), np.int16))
    assert "no voxel varies" in session_fault(np.full((N_TRIALS, 20), 5, np.int16))
    assert "no voxel varies" in session_fault(np.zeros((N_TRIALS, 20), np.float32))


def test_a_session_that_was_written_in_part_is_refused(betas):
    betas[375:] = 0
    assert session_fault(betas).startswith("375 of 750 trials have no value in any voxel")
    assert session_fault((betas / 300).astype(np.float32)).startswith("375 of 750 trials")


def test_a_saturated_session_is_refused(betas):
    betas[:, :4] = LARGEST
    betas[:10, :4] = -LARGEST - 1
    assert session_fault(betas) == (
        "3000 of 45000 values are the largest that can be stored, expected under 5 %"
    )
