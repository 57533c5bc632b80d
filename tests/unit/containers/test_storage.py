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
    array_fault,
    chunk_shape,
    read_arrays,
    write_array,
)
from fmri2img.project.exceptions import FormatError


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


def secret(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.arange(3)
    (tmp_path / "secret.raw").write_bytes(bytes(24))
    return tmp_path / "secret.h5"


def by_soft_link(file, tmp_path):
    file["other"] = np.arange(3)
    file["x"] = h5py.SoftLink("/other")


def by_external_link(file, tmp_path):
    file["x"] = h5py.ExternalLink(str(secret(tmp_path)), "x")


def by_external_storage(file, tmp_path):
    secret(tmp_path)
    place = [(str(tmp_path / "secret.raw"), 0, 24)]
    file.create_dataset("x", (3,), "i8", external=place)


def by_virtual_data(file, tmp_path):
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(str(secret(tmp_path)), "x", (3,))
    file.create_virtual_dataset("x", layout)


def by_a_group(file, tmp_path):
    file.create_group("x")


def by_nothing(file, tmp_path):
    file.create_dataset("x", data=h5py.Empty("i8"))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (by_soft_link, "x is a link to /other, expected an array"),
        (by_external_link, r"x is a link to .*secret\.h5x, expected an array"),
        (by_external_storage, r"x keeps its values in .*secret\.raw, expected them in the file"),
        (by_virtual_data, r"x takes its values from .*secret\.h5, expected them in the file"),
        (by_a_group, "x is a group without a shape, expected an array"),
        (by_nothing, "x is a dataset without a shape, expected an array"),
    ],
)
def test_arrays_that_leave_their_file_are_refused(tmp_path, make, line):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
    with h5py.File(path) as file:
        assert re.fullmatch(line, array_fault(file, "x"))
        assert array_fault(file, "y").startswith("no array y among ")
    with pytest.raises(FormatError, match=rf"x\.h5: {line}; write it under that name"):
        read_arrays(path, ("x",))


def test_arrays_of_files_in_the_same_folder_may_be_combined(tmp_path):
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["x"] = np.arange(3)
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource("part.h5", "x", (3,))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
        file["plain"] = 1.0
    with h5py.File(tmp_path / "x.h5") as file:
        assert array_fault(file, "x", may_be_virtual=True) == array_fault(file, "plain") == ""
        assert "part.h5" in array_fault(file, "x")
