"""Maps of voxels: as files that other programs open, on the template's surface, and as a page."""

import base64
import io
import json
import logging
import re
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import yaml
from nilearn.image import load_img
from nilearn.surface import load_surf_data
from PIL import Image
from scipy.ndimage import center_of_mass

from fmri2img.containers.anatomy import Anatomy
from fmri2img.containers.encoding_model import EncodingModel
from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.repetitions import average_zscored
from fmri2img.containers.splits import Split
from fmri2img.models.registry import load_encoder
from fmri2img.pipeline.map_subject import map_subject
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.params_file import load_params
from miniature import SUBJECT, inside

MAPS = f"data/maps/{SUBJECT}"


@pytest.fixture(scope="module")
def examples(project):
    return Examples.open(project / f"data/examples/{SUBJECT}.h5", remedy="none")


def volume_of(project, name):
    image = load_img(str(project / MAPS / f"{name}.nii.gz"))
    return image, np.asarray(image.dataobj)


def test_every_map_opens_on_the_grid_of_the_voxels_and_says_that_it_is_simulated(project, examples):
    paths = sorted((project / MAPS).glob("*.nii.gz"))
    names = [path.name.removesuffix(".nii.gz") for path in paths]
    assert names == ["explained_variance", "noise_ceiling", "region", "underlay", "weights_ridge"]
    for path in paths:
        image = load_img(str(path))
        assert image.shape == examples.grid
        np.testing.assert_allclose(image.affine, examples.affine, atol=1e-4)
        assert b"simulated by fmri2img" in image.header["descrip"].item()


def test_regions_are_those_of_the_voxel_file_voxel_by_voxel(project, examples):
    _, volume = volume_of(project, "region")
    for (i, j, k), label in zip(examples.voxel_ijk, examples.roi_labels, strict=True):
        assert volume[i, j, k] == label
    assert np.count_nonzero(volume) == examples.n_voxels


def test_a_regions_centre_lies_where_the_simulator_put_it(project, examples):
    folder = project / f"data/raw/nsddata/ppdata/{SUBJECT}/func1pt8mm/roi"
    roi = json.loads((project / f"data/rois/{SUBJECT}.json").read_text())["roi"]
    truth = np.asarray(nib.load(folder / f"{roi}.nii.gz").dataobj)
    _, volume = volume_of(project, "region")
    truth = np.where(volume > 0, truth, 0)  # head motion cuts off planes of later sessions
    compared = 0
    for label in np.unique(examples.roi_labels):
        for is_left in (True, False):
            half = np.arange(truth.shape[0])[:, None, None] < truth.shape[0] / 2
            half = np.broadcast_to(half if is_left else ~half, truth.shape)
            ours, theirs = (volume == label) & half, (truth == label) & half
            if min(ours.sum(), theirs.sum()) > 5:
                distance = np.subtract(center_of_mass(ours), center_of_mass(theirs))
                assert np.linalg.norm(distance) < 0.5  # of a voxel
                compared += 1
    assert compared >= 3


def test_the_noise_ceiling_is_that_of_the_ncsnr_voxel_by_voxel(project, examples):
    """100 ncsnr² / (ncsnr² + 1/n) for averages of n trials (Allen et al. 2022)."""
    split = Split.open(project / f"data/splits/{SUBJECT}.json", remedy="none")
    shown = examples.repetitions_of(split.ids("test"))
    noise = (1 / shown).mean()
    estimated = np.isfinite(examples.training_ncsnr).any()
    ncsnr = examples.training_ncsnr if estimated else examples.ncsnr
    _, volume = volume_of(project, "noise_ceiling")
    for voxel, (i, j, k) in enumerate(examples.voxel_ijk):
        expected = 100 * ncsnr[voxel] ** 2 / (ncsnr[voxel] ** 2 + noise)
        np.testing.assert_allclose(volume[i, j, k], expected, rtol=1e-4, atol=1e-4)


def test_explained_variance_is_that_of_the_test_images(project, examples):
    """Against the definition, for every voxel."""
    split = Split.open(project / f"data/splits/{SUBJECT}.json", remedy="none")
    latents = Latents.open(project / f"data/latents/{SUBJECT}.h5", remedy="none")
    path = project / f"models/{SUBJECT}/encoding_model.h5"
    model = EncodingModel.open(path, remedy="none")
    ids = split.ids("test")
    train = examples.trials_of(split.ids("train"))
    measured = average_zscored(examples, examples.trials_of(ids), train)
    predicted = model.predict(latents.of(ids).reshape(len(ids), -1))
    _, volume = volume_of(project, "explained_variance")
    for voxel in range(examples.n_voxels):
        left = np.square(measured[:, voxel] - predicted[:, voxel]).sum()
        total = np.square(measured[:, voxel] - model.response_mean[voxel]).sum()
        i, j, k = examples.voxel_ijk[voxel]
        np.testing.assert_allclose(volume[i, j, k], 100 * (1 - left / total), rtol=1e-3, atol=1e-3)
    outside = np.ones(examples.grid, bool)
    outside[tuple(examples.voxel_ijk.T)] = False
    assert np.isnan(volume[outside]).all()


def test_weights_are_those_of_the_encoder(project, examples):
    with inside(project):
        encoder, _ = load_encoder(
            project / f"models/{SUBJECT}/ridge", subject=SUBJECT, model="ridge"
        )
    weights = encoder.linear.weight.detach().numpy()
    _, volume = volume_of(project, "weights_ridge")
    np.testing.assert_allclose(
        volume[tuple(examples.voxel_ijk.T)], np.sqrt((weights**2).sum(0)), rtol=1e-5
    )


def test_surfaces_hold_the_volumes_values(project, examples):
    anatomy = Anatomy.open(project / f"data/anatomy/{SUBJECT}.h5", remedy="none")
    _, volume = volume_of(project, "noise_ceiling")
    for side in ("left", "right"):
        path = project / MAPS / f"fsaverage5/{side}_noise_ceiling.shape.gii"
        assert b"simulated by fmri2img" in path.read_bytes()
        assert f"Cortex{side.capitalize()}".encode() in path.read_bytes()
        values = load_surf_data(str(path))
        np.testing.assert_array_equal(values, anatomy.at_vertices(volume, side))
        assert 0.01 < np.isfinite(values).mean() < 0.9
        assert np.nanmax(values) <= np.nanmax(volume) + 1e-4


def test_no_brain_is_cut_off(project):
    """Six of them stand side by side, each in a cell of its own with white at its edges."""
    page = (project / f"reports/brains/{SUBJECT}.html").read_text()
    n_judged = 0
    for data in re.findall(r'class="plot" src="data:image/png;base64,([^"]+)"', page):
        picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("L")
        pixels = np.asarray(picture)
        height, width = pixels.shape
        if width > 4 * height:
            edges = (np.arange(7) * width / 6).round().astype(int)
            cells = pixels[height // 6 :]
            beside = np.r_[edges[:-1] + 2, edges[1:] - 3]
            assert (cells[:, beside] == 255).all()
            assert (cells[-3:] == 255).all()
            n_judged += 1
    assert n_judged == 3  # noise ceiling, explained variance, weights


def test_the_page_shows_each_map_and_leads_to_the_others(project):
    page = (project / f"reports/brains/{SUBJECT}.html").read_text()
    assert page.count("data:image/png") >= 4
    assert "srcdoc" in page
    assert "Simulated data" in page
    for title in ("Regions", "Noise ceiling", "Explained variance", "Weights in ridge"):
        assert title in page
    assert 'href="../index.html"' in page
    assert not re.findall(r'(?:src|href)="https?://', page.replace("&#34;", '"'))


def test_without_anatomy_and_after_a_model_is_removed_maps_are_drawn_all_the_same(copied):
    settings = yaml.safe_load((copied / "params.yaml").read_text())
    settings["collect_anatomy"] = {"underlay": "none", "surface": False}
    (copied / "params.yaml").write_text(yaml.safe_dump(settings))
    stale = copied / MAPS / "weights_gone.nii.gz"
    shutil.copy(copied / MAPS / "weights_ridge.nii.gz", stale)
    from stages.collect_anatomy import main as collect

    with inside(copied):
        collect(SUBJECT)
        map_subject(SUBJECT, load_params())
    assert not stale.exists()
    assert not (copied / MAPS / "underlay.nii.gz").exists()
    assert not list((copied / MAPS / "fsaverage5").glob("*.gii"))
    page = (copied / f"reports/brains/{SUBJECT}.html").read_text()
    assert "over the mean" not in page
    assert "fsaverage5" not in page
    assert "Noise ceiling" in page


def test_whoever_has_no_raw_files_gets_maps_without_anatomy(copied, tmp_path, monkeypatch, caplog):
    from stages.collect_anatomy import main as collect

    monkeypatch.setenv("FMRI2IMG_RAW_ROOT", str(tmp_path / "nothing"))
    with inside(copied), caplog.at_level(logging.INFO):
        collect(SUBJECT)
    path = copied / f"data/anatomy/{SUBJECT}.h5"
    kept = Anatomy.open(path, remedy="none")  # as it came from a colleague
    assert kept.has_underlay
    assert kept.has_surface
    assert "is kept as it came" in caplog.text
    path.unlink()
    with inside(copied), caplog.at_level(logging.INFO):
        collect(SUBJECT)
    anatomy = Anatomy.open(path, remedy="none")
    assert not anatomy.has_underlay
    assert not anatomy.has_surface
    assert "drawn without anatomy" in caplog.text


def test_an_encoder_of_other_voxels_is_refused(copied):
    path = copied / f"data/reconstructions/{SUBJECT}/ridge.h5"
    reconstructions = Reconstructions.open(path, remedy="none")
    weights = reconstructions.voxel_weights[:-1]
    replace(reconstructions, voxel_weights=weights).save(path)
    with inside(copied), pytest.raises(MismatchError, match=rf"run: dvc repro predict@{SUBJECT}-r"):
        map_subject(SUBJECT, load_params())


def test_the_same_data_give_the_same_bytes(copied):
    before = {
        path: path.read_bytes()
        for folder in (MAPS, "reports/brains")
        for path in (copied / folder).rglob("*")
        if path.is_file()
    }
    assert len(before) > 5
    for path in before:
        path.unlink()
    with inside(copied):
        map_subject(SUBJECT, load_params())
    for path, content in before.items():
        assert path.read_bytes() == content, path
