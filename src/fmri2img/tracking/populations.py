"""What a population learnt, in the registry: a model of its own for each member, which a group can
hand out without anybody's responses.
"""

import shutil
import tempfile
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.files import hash_file
from fmri2img.project.layout import voxel_priors_path
from fmri2img.tracking.store import forgiving, open_store
from fmri2img.tracking.versions import MD5_TAG, find_version, resolve


def registered_population(subject: str, model: str) -> str:
    """Return the name in the registry of what a model's population learnt from a subject."""
    return f"population-{model}-{subject}"


def log_population(subject: str, model: str) -> None:
    """Register what was learnt from a subject, unless there is a version with the same bytes; a
    store that cannot be reached only causes a warning.
    """
    with forgiving(f"the population's {subject}"):
        register_population(subject, model)


def register_population(subject: str, model: str) -> bool:
    """Register what was learnt from a subject; returns whether it was new."""
    path, name = voxel_priors_path(subject, model), registered_population(subject, model)
    priors = VoxelPriors.open(path, remedy="dvc repro learn_population", subject=subject)
    client, experiment = open_store()
    tags = {
        MD5_TAG: hash_file(path, "md5"),
        "subject": subject,
        "model": model,
        "data.source": priors.provenance["data_source"],
    }
    if find_version(client, name, tags) is not None:
        return False
    logged = client.create_logged_model(experiment, name=name, model_type="voxel priors", tags=tags)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(path, Path(folder) / path.name)
        client.log_model_artifacts(logged.model_id, folder)
    client.finalize_logged_model(logged.model_id, "READY")
    try:
        client.create_registered_model(
            name,
            description="Distribution over the voxels of each region of one person: a prior for "
            "encoders of others (fmri2img adapt). No response and no picture is in it.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client.create_model_version(
        name,
        logged.model_uri,
        tags=tags,
        description=_description(priors),
        model_id=logged.model_id,
    )
    return True


def _description(priors: VoxelPriors) -> str:
    about = priors.provenance
    lines = ["**SIMULATED DATA, not brain data.**"] if about["data_source"] == "simulated" else []
    regions = ", ".join(
        f"{region} ({n})" for region, n in zip(priors.regions, priors.n_voxels, strict=True)
    )
    lines += [
        f"**Voxels** of {about['subject']}: {regions}; {about['func_space']}, learnt from "
        f"{len(priors.image_ids)} training images; latents of {about['autoencoder']['name']}."
    ]
    return "\n\n".join(lines)


def download_population(uri: str, folder: Path) -> Path:
    """Fetch the file of a registered version (``models:/population-MODEL-SUBJECT/NUMBER``) into
    a folder, and check that it is the one that was registered.

    Raises
    ------
    MissingDataError
        If there is no such version.
    MismatchError
        If it holds something else, or has changed.
    """
    version = resolve(open_store()[0], uri)
    place = Path(mlflow.artifacts.download_artifacts(version.uri, dst_path=str(folder)))
    files = list(place.glob("*.h5"))
    if len(files) != 1 or hash_file(files[0], "md5") != version.tags.get(MD5_TAG):
        raise MismatchError(
            f"{uri}: not what a population learnt, or changed since it was registered; name a "
            "version of population-MODEL-SUBJECT, or a file"
        )
    return files[0]
