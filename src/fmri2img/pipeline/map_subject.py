"""Maps of one subject's voxels: NIfTI volumes in functional space, the same on fsaverage5, and a
page that shows them.
"""

from pathlib import Path

import numpy as np

from fmri2img.containers.anatomy import HEMISPHERES, Anatomy
from fmri2img.containers.examples import Examples
from fmri2img.containers.map_files import write_map, write_surface_map
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.datasets.marks import MARK, SIMULATED
from fmri2img.evaluation.encoding_fit import ceiling_source, score_voxels
from fmri2img.evaluation.metrics_document import data_sentence
from fmri2img.models.registry import stage_of
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.config import ProjectParams
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.files import replacing_together, write_text
from fmri2img.project.layout import brain_path, maps_folder
from fmri2img.viz.brain_maps import BrainPage, MappedVolume, VoxelMap, brain_page

_UNDERLAY = "underlay"


def map_subject(subject: str, params: ProjectParams) -> None:
    """Write the maps of a subject's voxels and the page with them.

    Parameters
    ----------
    subject : str
    params : ProjectParams
    """
    data = SubjectData(subject)
    anatomy, examples = data.anatomy(), data.examples(on_disk=["images"])
    maps = [*_scores(data, examples), *_encoder_weights(examples, list(params.models))]
    with replacing_together():
        volumes = [_write(one, examples, anatomy) for one in maps]
        underlay = _write_underlay(examples, anatomy)
    about = examples.provenance
    content = BrainPage(
        subject=subject,
        data_source=examples.provenance["data_source"],
        origin=data_sentence(about.get("title", ""), about.get("terms", "")),
        underlay=underlay,
        underlay_title=anatomy.provenance["underlay"],
        places=_places(examples),
        about=_about(examples),
    )
    write_text(brain_path(subject), brain_page(volumes, content))
    _remove_others(maps_folder(subject), volumes, underlay)


def _scores(data: SubjectData, examples: Examples) -> list[VoxelMap]:
    """Return what is known of the voxels themselves."""
    scores = score_voxels(data.encoding_model(), examples, data.split(), data.latents())
    ceiling_text = f"Variance that an image explains at most, {ceiling_source(examples)}."
    explained_text = (
        "Variance of the responses to test images that a linear model from latents, fitted on "
        "training images, explains; below 0: worse than the mean of training images."
    )
    return [
        VoxelMap(
            "region",
            "Regions",
            "",
            "The region of each voxel.",
            examples.roi_labels,
            {int(label): name for label, name in examples.provenance["roi_names"].items()},
        ),
        VoxelMap("noise_ceiling", "Noise ceiling", "% of variance", ceiling_text, scores.ceiling),
        VoxelMap(
            "explained_variance",
            "Explained variance",
            "% of variance",
            explained_text,
            scores.r2,
            is_signed=True,
        ),
    ]


def _encoder_weights(examples: Examples, models: list[str]) -> list[VoxelMap]:
    """Return the weights of voxels in linear encoders.

    Raises
    ------
    MismatchError
        If an encoder has other voxels than the examples.
    """
    subject, maps = examples.provenance["subject"], []
    for model in models:
        encoder = SubjectData(subject).encoder(model)
        weights = encoder.reconstructions(on_disk=Reconstructions.large).voxel_weights
        if weights is None:
            continue
        if len(weights) != examples.n_voxels:
            raise MismatchError(
                f"{subject}: {model} has weights of {len(weights)} voxels, the examples have "
                f"{examples.n_voxels}; run: dvc repro {stage_of('predict', subject, model)}"
            )
        text = (
            f"Length of the voxel's weights on the latent in {model}, for z-scored voxels. Weights "
            "say what a decoder uses, not what a voxel codes: a voxel may serve to cancel the "
            "noise of others (Haufe et al. 2014, doi:10.1016/j.neuroimage.2013.10.067)."
        )
        name = f"weights_{model}"
        maps.append(VoxelMap(name, f"Weights in {model}", "", text, weights))
    return maps


def _write(one: VoxelMap, examples: Examples, anatomy: Anatomy) -> MappedVolume:
    """Write a map as a volume, and on the surface if there is one."""
    is_label = bool(one.labels)
    volume = np.full(examples.grid, 0 if is_label else np.nan, np.int16 if is_label else np.float32)
    volume[tuple(examples.voxel_ijk.T)] = one.values
    folder = maps_folder(examples.provenance["subject"])
    volume_path = folder / f"{one.name}.nii.gz"
    _write_volume(volume_path, volume, examples, one.heading)
    if not anatomy.has_surface or is_label:
        return MappedVolume(one, volume_path)
    sides = {}
    for side in HEMISPHERES:
        sides[side] = anatomy.at_vertices(volume, side)
        path = _surface_path(folder, side, one)
        write_surface_map(path, sides[side], _marked(one.heading, examples), side)
    return MappedVolume(one, volume_path, **sides)


def _write_underlay(examples: Examples, anatomy: Anatomy) -> Path | None:
    if not anatomy.has_underlay:
        return None
    path = maps_folder(examples.provenance["subject"]) / f"{_UNDERLAY}.nii.gz"
    _write_volume(path, anatomy.underlay, examples, anatomy.provenance["underlay"])
    return path


def _write_volume(path: Path, volume: np.ndarray, examples: Examples, title: str) -> None:
    write_map(path, volume, examples.affine, _marked(title, examples))


def _marked(title: str, examples: Examples) -> str:
    """Return a title that says so if the data are simulated."""
    is_simulated = examples.provenance["data_source"] == SIMULATED
    return f"{title}; {MARK}" if is_simulated else title


def _remove_others(folder: Path, volumes: list[MappedVolume], underlay: Path | None) -> None:
    """Delete maps that were not written now, such as those of encoders that are no more."""
    kept = {volume.path for volume in volumes} | {underlay}
    kept |= {
        _surface_path(folder, side, volume.map)
        for volume in volumes
        for side in HEMISPHERES
        if volume.left is not None
    }
    for path in (*folder.glob("[!.]*.nii.gz"), *folder.glob("fsaverage5/[!.]*.gii")):
        if path not in kept:
            path.unlink()


def _surface_path(folder: Path, side: str, one: VoxelMap) -> Path:
    return folder / "fsaverage5" / f"{side}_{one.name}.shape.gii"


def _places(examples: Examples) -> np.ndarray:
    """Return where voxels lie, in millimetres, shape (n_voxels, 3)."""
    places: np.ndarray = examples.voxel_ijk @ examples.affine[:3, :3].T + examples.affine[:3, 3]
    return places


def _about(examples: Examples) -> dict[str, str]:
    about = examples.provenance
    return {
        "voxels": str(examples.n_voxels),
        "regions": ", ".join(dict.fromkeys(sorted(examples.roi_names))),
        "space": f"{about['func_space']}, grid {' x '.join(map(str, examples.grid))}",
        "sessions": str(len(examples.sessions)),
    }
