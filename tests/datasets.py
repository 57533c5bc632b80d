"""Small experiments in files, one for each dataset."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from PIL import Image

from conftest import ONE_PROCESS
from fmri2img.datasets import folder_dataset, laion_dataset, nsd_dataset
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.protocol import Setting
from fmri2img.project.nsd_params import RealNsdParams

PERSON, SIDE, N_IMAGES, N_TEST, N_VOXELS = "anna", 48, 40, 8, 24
PLACE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 2, -10], [0, 0, 0, 1]])
DECLARED = {
    "title": "Colours at breakfast",
    "subjects": [PERSON],
    "unit": "z-score",
    "voxel_mm": 2.0,
    "picture_side": SIDE,
    "n_repetitions": 4,
    "ids": "texts",
    "missing": "masked",
    "terms": "",
}


def write_folder(root, **declared):
    """An experiment of one person: pictures of one colour with a grain, voxels that see the
    colour, four trials of each test picture and two of the others, in two sessions.
    """
    rng = np.random.default_rng(5)
    (root / "pictures").mkdir(parents=True)
    (root / PERSON).mkdir()
    (root / "dataset.yaml").write_text(yaml.safe_dump(DECLARED | declared))
    colours = rng.integers(20, 236, (N_IMAGES, 3), dtype=np.uint8)
    ids = [f"cup-{number:02d}" for number in range(N_IMAGES)]
    for name, colour in zip(ids, colours, strict=True):
        grain = rng.integers(-20, 20, (SIDE, SIDE, 3))
        Image.fromarray((colour + grain).astype(np.uint8)).save(root / f"pictures/{name}.png")
    is_test = np.arange(N_IMAGES) < N_TEST
    files = [f"{name}.png" for name in ids]
    table = pd.DataFrame({"image_id": ids, "file": files, "is_test": is_test.astype(int)})
    table.to_csv(root / "pictures.csv", index=False)
    shown = np.concatenate(
        [rng.permutation(np.repeat(np.arange(N_IMAGES), 1 + is_test)) for _ in "ab"]
    )
    session = np.repeat([1, 2], len(shown) // 2)
    trial = np.tile(np.arange(1, len(shown) // 2 + 1), 2)
    trials = {"session": session, "run": 1, "trial": trial, "image_id": np.array(ids)[shown]}
    pd.DataFrame(trials).to_csv(root / PERSON / "trials.csv", index=False)
    position = np.stack(np.unravel_index(np.arange(N_VOXELS), (2, 3, 4)), axis=1)[::-1]
    voxels = pd.DataFrame(position, columns=["i", "j", "k"])
    voxels["visual"] = ["V1"] * 16 + ["V4"] * 6 + [""] * 2
    voxels.to_csv(root / PERSON / "voxels.csv", index=False)
    seen = (colours / 128 - 1)[shown] @ rng.normal(size=(3, N_VOXELS))
    betas = (seen + 0.3 * rng.normal(size=seen.shape)).astype(np.float32)
    betas[3, 5] = np.nan
    np.save(root / PERSON / "betas.npy", betas)
    return root


def write_volumes(root, form, *, n_files=2, **declared):
    """The experiment of `write_folder` with its betas and regions as volumes.

    ``form`` is the betas' suffix: .nii.gz, .nii, .npy, .hdf5 (ours), .mat (GLMsingle in MATLAB) or
    .h5 (GLMsingle in Python); in one file for all sessions if ``n_files`` is 1.
    """
    write_folder(root, **declared)
    person = root / PERSON
    voxels, betas = pd.read_csv(person / "voxels.csv"), np.load(person / "betas.npy")
    (person / "voxels.csv").unlink()
    (person / "betas.npy").unlink()
    at = tuple(voxels[["i", "j", "k"]].to_numpy().T)
    labels = np.zeros((2, 3, 4), np.int16)
    labels[at] = voxels["visual"].map({"V1": 1, "V4": 4}).fillna(0)
    (person / "regions").mkdir()
    write_volume(person / "regions/visual.nii.gz", labels, 2.0, affine=PLACE)
    (person / "regions/visual.csv").write_text("label,name\n1,V1\n4,V4\n")
    volumes = np.zeros((2, 3, 4, len(betas)), np.float32)
    volumes[at] = betas.T
    if n_files == 1:
        write_betas(person / f"betas{form}", volumes)
        return root
    (person / "betas").mkdir()
    for number, part in enumerate(np.split(volumes, n_files, axis=3), start=1):
        write_betas(person / f"betas/ses-{number:02d}{form}", part)
    return root


def write_betas(path, volumes):
    """Write volumes (x, y, z, trials) in the form that a suffix stands for."""
    suffix = "".join(path.suffixes)
    if suffix == ".nii.gz":
        write_volume(path, volumes, 2.0, affine=PLACE)
    elif suffix == ".nii":
        nib.save(nib.Nifti1Image(volumes, PLACE), path)
    elif suffix == ".npy":
        np.save(path, volumes)
    else:
        name = {".hdf5": "betas", ".mat": "modelmd", ".h5": "betasmd"}[suffix]
        array = volumes if suffix == ".h5" else volumes.transpose(3, 2, 1, 0)
        with h5py.File(path, "w") as file:
            file[name] = array


def pictures_in_hdf5(root):
    """Put the pictures of `write_folder` into one array."""
    table = pd.read_csv(root / "pictures.csv")
    pictures = [np.asarray(Image.open(root / "pictures" / file)) for file in table["file"]]
    with h5py.File(root / "pictures.hdf5", "w") as file:
        file["pictures"] = np.stack(pictures[::-1])
    table["row"] = np.arange(len(table))[::-1]
    table.drop(columns="file").to_csv(root / "pictures.csv", index=False)
    shutil.rmtree(root / "pictures")
    return root


def folder(root):
    machine = ONE_PROCESS.model_copy(update={"raw_root": str(root)})
    return folder_dataset.Reader(
        folder_dataset.Settings(sessions="all"), Setting(machine, (PERSON,), Path("none"))
    )


def laion(root, **settings):
    machine = ONE_PROCESS.model_copy(update={"raw_root": str(root)})
    s3 = {"bucket": "none", "region": "none", "endpoint_url": None, "part_mib": 1}
    chosen = {"source": "local", "sessions": "all", "split": "tau", "pool": "subject", "s3": s3}
    chosen |= settings
    return laion_dataset.Reader(
        laion_dataset.Settings.model_validate(chosen), Setting(machine, ("sub01",), Path("none"))
    )


def nsd_copy(miniature):
    """The simulated tree, taken as somebody's own copy of NSD."""
    values = miniature.nsd.model_dump(exclude={"simulation"})
    s3 = {"bucket": "none", "region": "none", "endpoint_url": None, "part_mib": 1}
    settings = RealNsdParams.model_validate(
        values | {"source": "local", "accept_nsd_terms": False, "s3": s3}
    )
    return nsd_dataset.Reader(settings, Setting(at(miniature), ("subj02",), Path("none")))


def simulated(miniature):
    return type(miniature.dataset)(
        miniature.nsd, replace(miniature.dataset.setting, machine=at(miniature))
    )


def at(miniature):
    return ONE_PROCESS.model_copy(update={"raw_root": str(miniature.root)})
