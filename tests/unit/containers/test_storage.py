import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

from conftest import REPOSITORY
from fmri2img.containers.storage import (
    JoinedArray,
    StoredArray,
    StreamedArray,
    chunk_shape,
    write_array,
)


def written(tmp_path, values, name="whole.h5"):
    with h5py.File(tmp_path / name, "w") as file:
        write_array(file, "x", values)
    return tmp_path / name


@pytest.fixture
def matrix(rng):
    return rng.integers(-900, 900, (2250, 301)).astype(np.int16)


def test_streamed_blocks_give_the_values_of_the_whole_array(tmp_path, matrix):
    def blocks():
        for at in range(0, 301, 128):
            yield (slice(None), slice(at, at + 128)), matrix[:, at : at + 128]

    streamed = StreamedArray(matrix.shape, matrix.dtype, blocks)
    assert len(streamed) == 2250
    with h5py.File(written(tmp_path, streamed)) as file:
        np.testing.assert_array_equal(file["x"][()], matrix)
    assert (
        written(tmp_path, streamed, "a.h5").read_bytes()
        == written(tmp_path, streamed, "b.h5").read_bytes()
    )


@pytest.mark.parametrize(
    "rows",
    [(750, 750, 750), (750, 1500), (100, 2150)],
    ids=["whole chunks", "several", "cut chunks"],
)
def test_joined_pieces_give_the_values_of_the_whole_array(tmp_path, matrix, rows):
    ends = np.cumsum(rows)
    pieces = [
        written(tmp_path, matrix[end - n : end], f"piece{end}.h5")
        for n, end in zip(rows, ends, strict=True)
    ]
    joined = JoinedArray(tuple(pieces), "x", matrix.shape, matrix.dtype)
    with h5py.File(written(tmp_path, joined)) as file:
        np.testing.assert_array_equal(file["x"][()], matrix)
        assert file["x"].chunks == (750, 128)


def test_a_stored_array_reads_what_is_asked_for(tmp_path, matrix):
    path = written(tmp_path, matrix)
    stored = StoredArray(path, "x", matrix.shape, matrix.dtype)
    np.testing.assert_array_equal(stored[10:20, 3:9], matrix[10:20, 3:9])
    np.testing.assert_array_equal(stored[()], matrix)
    assert len(stored) == 2250


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((30_000, 15_000), np.int16, (750, 128)),
        ((10_000, 128, 128, 3), np.uint8, (21, 128, 128, 3)),
        ((30_000,), np.int64, (30_000,)),
        ((70,), np.float32, None),
        ((), np.float32, None),
    ],
)
def test_chunks(shape, dtype, expected):
    assert chunk_shape(shape, np.dtype(dtype)) == expected


def test_empty_arrays_are_kept(tmp_path):
    with h5py.File(written(tmp_path, np.zeros((0, 4), np.int16))) as file:
        assert file["x"].shape == (0, 4)


FULL_DISK = """
import resource
import sys
from pathlib import Path

import numpy as np

from fmri2img.pipeline.stage import run_stage
from fmri2img.project.files import replacing
from fmri2img.containers.storage import write_array, writing


def main() -> None:
    # No file may grow beyond 64 KiB, as on a disk that is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
    values = np.random.default_rng(0).integers(0, 60_000, (750, 512)).astype(np.uint16)
    with replacing(Path("whole.h5")) as partial, writing(partial) as file:
        write_array(file, "x", values)


run_stage(main)
"""


@pytest.mark.functional
def test_a_disk_that_takes_no_more_is_one_line_and_nothing_is_left(tmp_path):
    (tmp_path / "whole.h5").write_bytes(b"earlier")
    (tmp_path / "script.py").write_text(FULL_DISK)
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    result = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: \S*whole.h5: File too large; check the disk and the path, or run with --debug "
        r".*\n",
        result.stderr,
    )
    assert (tmp_path / "whole.h5").read_bytes() == b"earlier"
    assert not list(tmp_path.glob(".partial*"))
