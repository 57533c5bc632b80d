"""The map of regions on the page about a subject's brain: many regions, and names as they come."""

import re

import nibabel
import numpy as np
import pytest

from fmri2img.viz.brain_maps import BrainPage, MappedVolume, VoxelMap, brain_page


@pytest.fixture
def sixty(tmp_path):
    """A volume of sixty regions of four voxels each."""
    labels = np.repeat(np.arange(1, 61), 4).astype(np.int16)
    volume = np.zeros((8, 8, 8), np.int16)
    places = np.stack(np.unravel_index(np.arange(len(labels)), volume.shape), axis=1)
    volume[tuple(places.T)] = labels
    path = tmp_path / "region.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([2, 2, 2, 1])), path)
    names = {number: f"area {number}" for number in range(1, 62)} | {7: "<b>V1 & $V2$</b>"}
    one = VoxelMap("region", "Regions", "", "The region of each voxel.", labels, names)
    content = BrainPage("subj01", "nsd", "", None, "", 2.0 * places, {"voxels": "240"})
    return MappedVolume(one, path), content


def test_sixty_regions_have_names_and_colours_of_their_own(sixty):
    volume, content = sixty
    page = brain_page([volume], content)
    (legend,) = re.findall(r'<ul class="legend">.*?</ul>', page, re.DOTALL)
    named = re.findall(r'<li><i style="background:\s*(#[0-9a-f]{6})"></i>(.*?)</li>', legend)
    colours, names = zip(*named, strict=True)
    assert len(names) == 60  # the last has no voxel
    assert names[0] == "1 = area 1"
    assert names[6] == "7 = &lt;b&gt;V1 &amp; $V2$&lt;/b&gt;"
    assert len(set(colours)) == 60
