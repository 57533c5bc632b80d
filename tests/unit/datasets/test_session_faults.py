import numpy as np
import pytest

from fmri2img.datasets.session_faults import session_fault, without_coverage
from fmri2img.project.config import SessionLimits

N_TRIALS, N_VOXELS = 750, 60
LARGEST = np.iinfo(np.int16).max


def fault_of(betas, **limits):
    return session_fault(betas, SessionLimits(**limits))


@pytest.fixture
def betas(rng):
    return rng.integers(-900, 900, (N_TRIALS, N_VOXELS)).astype(np.int16)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30])
def test_numbers_that_are_no_responses(rng, value):
    betas = rng.normal(size=(20, 60)).astype(np.float32)
    assert session_fault(betas, SessionLimits()) == ""
    betas[3, 4], betas[5, 6] = value, np.nan
    assert session_fault(betas, SessionLimits()).startswith("it holds betas of ")


def test_responses_pass(betas):
    assert fault_of(betas) == ""
    betas[:, :50] = 0  # cut off by head motion
    betas[:10] = 0
    betas[:20, 55] = LARGEST
    assert fault_of(betas) == ""
    percent = betas.astype(np.float32) / 300
    percent[:, 3] = percent[5, 7] = np.nan
    assert fault_of(percent) == ""


@pytest.mark.parametrize("value", [0, 5, LARGEST])
def test_a_session_of_one_value_is_refused(betas, value):
    betas[:] = value
    assert fault_of(betas) == "no voxel varies over its 750 trials, expected responses"


def test_a_small_region_without_coverage_is_missing():
    empty = np.zeros((N_TRIALS, N_VOXELS), np.float32)
    assert fault_of(without_coverage(empty[:, :40])) == ""
    assert "no voxel varies" in fault_of(without_coverage(empty))


def test_trials_without_data_show_beside_a_voxel_that_is_always_missing(betas):
    percent = betas.astype(np.float32) / 300
    percent[:, 7] = np.nan
    assert fault_of(percent) == ""
    percent[400:, :7] = percent[400:, 8:] = 0
    assert "350 of 750 trials have no value" in fault_of(percent)


def test_missing_values_that_are_declared_pass(betas):
    """NaN of scrubbed runs, and a small region that lies outside the volume in a session."""
    percent = betas.astype(np.float32) / 300
    percent[:200] = np.nan
    assert fault_of(percent) == fault_of(percent[198:230]) == ""
    assert fault_of(np.full((N_TRIALS, N_VOXELS), np.nan, np.float32)) == ""
    assert fault_of(np.zeros((N_TRIALS, 20), np.int16)) == ""
    assert "no voxel varies" in fault_of(np.zeros((N_TRIALS, N_VOXELS), np.int16))
    assert "no voxel varies" in fault_of(np.full((N_TRIALS, 20), 5, np.int16))
    assert "no voxel varies" in fault_of(np.zeros((N_TRIALS, 20), np.float32))


def test_a_session_that_was_written_in_part_is_refused(betas):
    betas[375:] = 0
    assert fault_of(betas).startswith("375 of 750 trials have no value in any voxel")
    assert fault_of((betas / 300).astype(np.float32)).startswith("375 of 750 trials")


def test_a_saturated_session_is_refused(betas):
    betas[:, :4] = LARGEST
    betas[:10, :4] = -LARGEST - 1
    assert fault_of(betas) == (
        "3000 of 45000 values are the largest that can be stored, expected under 5.0% "
        "(machine.session_limits.saturated)"
    )


def test_limits_are_settings(betas):
    betas[:40] = 0
    assert "expected responses in all but 2.0% (machine.session_limits.empty_trials)" in fault_of(
        betas
    )
    assert fault_of(betas, empty_trials=0.1) == ""
    betas[40:, ::4] = np.where(betas[40:, ::4] > 0, LARGEST, betas[40:, ::4])
    assert "expected under 5.0% (machine.session_limits.saturated)" in fault_of(
        betas, empty_trials=0.1
    )
    assert fault_of(betas, empty_trials=0.1, saturated=0.2) == ""
