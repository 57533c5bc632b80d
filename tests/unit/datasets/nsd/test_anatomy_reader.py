"""The volumes below the voxels, and the way to fsaverage."""

import gzip
from dataclasses import replace
from pathlib import PurePosixPath

import nibabel as nib
import numpy as np
import pytest

from conftest import SUBJECT, linked, raw_files_of
from fmri2img.containers.anatomy import N_VERTICES
from fmri2img.datasets.marks import is_marked
from fmri2img.datasets.nsd.anatomy_reader import read_anatomy
from fmri2img.datasets.nsd.paths import DEPTHS, on_disk
from fmri2img.datasets.simulation.anatomy_files import write_anatomy
from fmri2img.datasets.simulation.cortex import func_to_anat_mm, locate, ribbon_mm
from fmri2img.datasets.simulation.simulated_brain import SimulatedBrain
from fmri2img.datasets.template_surface import vertex_directions
from fmri2img.project.config import CollectAnatomyParams
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.layout import anatomy_name

PARAMS = CollectAnatomyParams(underlay="mean", surface=True)
NAME = anatomy_name(SUBJECT)


@pytest.fixture(scope="module")
def written(miniature, tmp_path_factory):
    """A simulated anatomy: brain, root and the paths of its files."""
    root = tmp_path_factory.mktemp("anatomy")
    brain = SimulatedBrain(SUBJECT, miniature.nsd, root)
    return brain, root, write_anatomy(brain)


def read(brain, root, paths, params=PARAMS, shape=None):
    raw = raw_files_of(NAME, root, paths)
    return read_anatomy(raw, SUBJECT, brain.nsd, params, shape or brain.cortex.func_shape)


def test_files_have_nsds_form_and_say_that_they_are_simulated(written):
    brain, root, paths = written
    assert len(paths) == 1 + 2 * (len(DEPTHS) + 1)
    for path in paths:
        assert is_marked(on_disk(root, path)), path
    depth = nib.load(on_disk(root, brain.files.to_depth("lh", "layerB2")))
    assert depth.shape == (N_VERTICES, 1, 1, 3)
    assert depth.get_data_dtype() == np.dtype(">f4")
    template = nib.load(on_disk(root, brain.files.to_template("rh")))
    values = np.asarray(template.dataobj).ravel()
    assert values.shape == (163_842,)
    assert values.min() == 1
    assert values.max() == N_VERTICES


def test_the_same_settings_give_the_same_bytes(written, tmp_path):
    brain, root, _ = written
    again = SimulatedBrain(SUBJECT, brain.nsd, tmp_path)
    for path in write_anatomy(again):
        assert on_disk(tmp_path, path).read_bytes() == on_disk(root, path).read_bytes()


def test_vertices_lie_in_the_cortex_of_their_side(written):
    brain, root, paths = written
    anatomy = read(brain, root, paths)
    assert anatomy.left.shape == (3, N_VERTICES, 3)
    assert anatomy.has_surface
    grid = func_to_anat_mm(brain.cortex)
    for side in ("left", "right"):
        middle = np.round(getattr(anatomy, side)[1]).astype(int) - 1
        inside = ((middle >= 0) & (middle < brain.cortex.func_shape)).all(axis=1)
        points = locate(brain.cortex, grid[tuple(middle[inside].T)])
        assert points.is_cortex.mean() > 0.9
        assert (points.is_left == (side == "left")).mean() > 0.95


def test_a_vertex_of_the_template_lies_where_the_subjects_own_one_does(written):
    """The subject's vertices have another order than the template's."""
    brain, root, paths = written
    anatomy, grid = read(brain, root, paths), func_to_anat_mm(brain.cortex)
    for side in ("left", "right"):
        points = ribbon_mm(brain.cortex, vertex_directions(side), 0.0)
        for vertex in range(0, N_VERTICES, 487):
            nearest = np.square(grid - points[vertex]).sum(axis=-1).argmin()
            voxel = np.array(np.unravel_index(nearest, grid.shape[:3]))
            assert np.abs(getattr(anatomy, side)[1, vertex] - 1 - voxel).max() < 1.2


def test_a_value_reaches_the_vertices_that_lie_in_its_voxel(written):
    """Against the definition: the voxel in which a vertex lies at each depth, then the mean."""
    brain, root, paths = written
    anatomy = read(brain, root, paths)
    volume = np.arange(np.prod(brain.cortex.func_shape), dtype=np.float32)
    volume = volume.reshape(brain.cortex.func_shape)
    volume[::3] = np.nan
    mapped = anatomy.at_vertices(volume, "left")
    for vertex in range(0, N_VERTICES, 997):
        values = []
        for depth in range(3):
            i, j, k = np.floor(anatomy.left[depth, vertex].astype(float) + 0.5).astype(int) - 1
            inside = all(0 <= n < size for n, size in zip((i, j, k), volume.shape, strict=True))
            if inside and np.isfinite(volume[i, j, k]):
                values.append(volume[i, j, k])
        expected = np.mean(values) if values else np.nan
        np.testing.assert_allclose(mapped[vertex], expected, rtol=1e-6)
    assert np.isnan(mapped).any()
    assert np.isfinite(mapped).any()


def test_what_is_not_asked_for_or_not_there_is_of_no_size(written):
    brain, root, paths = written
    nothing = read(brain, root, paths, CollectAnatomyParams(underlay="none", surface=False))
    assert not nothing.has_underlay
    assert not nothing.has_surface
    only_mean = read(brain, root, paths[:1])
    assert only_mean.has_underlay
    assert not only_mean.has_surface
    no_t1 = read(brain, root, paths, CollectAnatomyParams(underlay="T1", surface=True))
    assert not no_t1.has_underlay
    assert no_t1.provenance["underlay"] == ""


def test_a_volume_of_another_grid_is_refused(written):
    brain, root, paths = written
    x, y, z = brain.cortex.func_shape
    with pytest.raises(MismatchError, match=r"grid .* expected that of the voxels"):
        read(brain, root, paths, shape=(x + 1, y, z))


def test_a_damaged_transform_is_refused(written, tmp_path):
    brain, root, paths = written
    path: PurePosixPath = brain.files.to_depth("lh", "layerB1")
    copy = linked(root, tmp_path / "copy", path)
    content = on_disk(root, path).read_bytes()
    on_disk(copy, path).write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=f"damaged, or no MGZ file.*collect_anatomy@{SUBJECT}"):
        read(brain, copy, paths)


def test_transforms_of_different_people_are_refused(written, tmp_path):
    brain, root, paths = written
    path = brain.files.to_depth("rh", "layerB2")
    copy = linked(root, tmp_path / "copy", path)
    few = nib.MGHImage(np.ones((50, 1, 1, 3), np.float32), np.eye(4))
    on_disk(copy, path).write_bytes(gzip.compress(few.to_bytes()))
    with pytest.raises(MismatchError, match="both files must be of one subject"):
        read(brain, copy, paths)


def test_an_anatomy_is_read_back_as_it_was_saved(written, tmp_path):
    brain, root, paths = written
    anatomy = read(brain, root, paths)
    anatomy.save(tmp_path / "one.h5")
    again = type(anatomy).open(tmp_path / "one.h5", remedy="none")
    np.testing.assert_array_equal(again.underlay, anatomy.underlay)
    np.testing.assert_array_equal(again.right, anatomy.right)
    assert again.provenance == anatomy.provenance
    with pytest.raises((FormatError, MismatchError)):
        replace(anatomy, left=anatomy.left[:, :5]).save(tmp_path / "two.h5")
