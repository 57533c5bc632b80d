"""Every reader of the project with a small valid file, and what it returns as one digest."""

import hashlib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import torch
from PIL import Image

from datasets import PERSON, write_folder
from fmri2img.cli.decode_verb import read_betas
from fmri2img.containers.anatomy import Anatomy
from fmri2img.containers.encoding_model import EncodingModel
from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.splits import Split
from fmri2img.containers.storage import StoredArray
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.datasets.folder_tables import read_table
from fmri2img.datasets.nsd.anatomy_reader import read_surface
from fmri2img.datasets.nsd.betas import read_session_betas
from fmri2img.datasets.nsd.coco_captions import read_captions, read_coco_ids
from fmri2img.datasets.nsd.design import read_design, read_responses
from fmri2img.datasets.nsd.mapping import read_coordinates
from fmri2img.datasets.nsd.rois import read_label_table, read_labels
from fmri2img.datasets.nsd.stimuli import iterate_images
from fmri2img.datasets.nsd.timeseries import read_onsets
from fmri2img.datasets.nsd.volumes import read_array, read_volume
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.picture_folders import read_pictures
from fmri2img.models.registry import load_encoder, load_seeds
from fmri2img.project.params_file import load_params
from fmri2img.provenance.receipts import Receipt

SUBJECT = "subj02"


@dataclass(frozen=True)
class Reader:
    """A valid file, and the function that reads it."""

    file: Path
    read: Any
    is_text: bool = False
    is_json: bool = False
    is_hdf5: bool = False
    has_no_length: bool = False  # a list of lines that may end anywhere
    beside: tuple[Path, ...] = ()  # files that it needs, too


def digest(value):
    """Return one hash of all that a reader gave."""
    hashed = hashlib.sha256()
    _add(hashed, value)
    return hashed.hexdigest()


def _add(hashed, value):
    if isinstance(value, StoredArray):
        value = value[()] if hasattr(value, "__getitem__") else np.asarray(value)
    if isinstance(value, np.ndarray):
        hashed.update(f"{value.dtype} {value.shape}".encode())
        hashed.update(repr(value.tolist()).encode() if value.dtype == object else value.tobytes())
    elif isinstance(value, pd.DataFrame):
        _add(hashed, value.to_csv())
    elif isinstance(value, torch.nn.Module):
        for name, tensor in value.state_dict().items():
            _add(hashed, name)
            _add(hashed, tensor.numpy())
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            _add(hashed, getattr(value, field.name))
    elif isinstance(value, dict):
        for name in sorted(value, key=str):
            _add(hashed, name)
            _add(hashed, value[name])
    elif isinstance(value, (list, tuple)):
        for item in value:
            _add(hashed, item)
    else:
        hashed.update(repr(value).encode())


def _hdf5(kind, path):
    return Reader(path, lambda file: kind.open(file, remedy="make it"), is_hdf5=True)


def _json(path, read):
    return Reader(path, read, is_text=True, is_json=True)


def of_project(root):
    """The readers of what the pipeline makes, by name."""
    data, encoder = root / "data", root / "models" / SUBJECT / "ridge"
    targets = next((data / "targets").rglob("*.h5"), None)
    readers = {
        "trial betas": _hdf5(TrialBetas, data / f"voxels/{SUBJECT}.h5"),
        "examples": _hdf5(Examples, data / f"examples/{SUBJECT}.h5"),
        "anatomy": _hdf5(Anatomy, data / f"anatomy/{SUBJECT}.h5"),
        "latents": _hdf5(Latents, data / f"latents/{SUBJECT}.h5"),
        "prior": _hdf5(Latents, data / f"prior/{SUBJECT}.h5"),
        "true pictures": _hdf5(TruePictures, data / f"truth/{SUBJECT}.h5"),
        "reconstructions": _hdf5(Reconstructions, data / f"reconstructions/{SUBJECT}/ridge.h5"),
        "encoding model": _hdf5(EncodingModel, root / f"models/{SUBJECT}/encoding_model.h5"),
        "split": _json(data / f"splits/{SUBJECT}.json", lambda f: Split.open(f, remedy="x")),
        "receipt": _json(data / f"receipts/{SUBJECT}.json", lambda f: Receipt.open(f, remedy="x")),
        "metrics": _json(
            root / f"reports/metrics/{SUBJECT}/ridge.json",
            lambda f: MetricsDocument.read(f, remedy="x"),
        ),
        "config of an encoder": Reader(
            encoder / "config.json",
            lambda f: load_encoder(f.parent),
            is_text=True,
            is_json=True,
            beside=(encoder / "model.safetensors",),
        ),
        "weights": Reader(
            encoder / "model.safetensors",
            lambda f: load_encoder(f.parent),
            beside=(encoder / "config.json",),
        ),
        "labels of voxels": Reader(
            data / f"rois/{SUBJECT}.nii.gz", lambda f: read_labels(f, remedy="x")
        ),
        "params": Reader(root / "params.yaml", load_params, is_text=True, has_no_length=True),
    }
    seeds = root / "models" / SUBJECT / "basic_ae"
    if (seeds / "seeds.safetensors").exists():
        readers["weights of other seeds"] = Reader(
            seeds / "seeds.safetensors",
            lambda f: load_seeds(f.parent),
            beside=(seeds / "config.json", seeds / "model.safetensors"),
        )
    if targets is not None:
        readers["targets"] = _hdf5(DiffusionTargets, targets)
    return readers


def of_raw(root):
    """The readers of NSD's files, by name."""
    person = root / "nsddata/ppdata" / SUBJECT
    betas = root / f"nsddata_betas/ppdata/{SUBJECT}/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    experiments, label = root / "nsddata/experiments/nsd", root / f"nsddata/freesurfer/{SUBJECT}"
    session = next(betas.glob("betas_session*.hdf5"))
    shape = nib.load(betas / "ncsnr.nii.gz").shape
    mask = np.zeros(shape, bool)
    mask[tuple(side // 2 for side in shape)] = True
    number = int(session.name.removeprefix("betas_session").partition(".")[0])
    onsets = next(root.glob("nsddata_timeseries/**/design_session*.tsv"))
    vertices = next((person / "transforms").glob("lh.*-to-layerB1.mgz"), None)
    captions = next(root.glob("coco/annotations/**/captions_train2017.json"), None)
    readers = {
        "betas": Reader(session, lambda f: read_session_betas(f, mask, remedy="x"), is_hdf5=True),
        "ncsnr": Reader(
            betas / "ncsnr.nii.gz", lambda f: read_array(f, read_volume(f, remedy="x"), remedy="x")
        ),
        "design": Reader(experiments / "nsd_expdesign.mat", lambda f: read_design(f, remedy="x")),
        "COCO ids": Reader(
            experiments / "nsd_stim_info_merged.csv",
            lambda f: read_coco_ids(f, np.arange(5), remedy="x"),
            is_text=True,
        ),
        "responses": Reader(
            person / "behav/responses.tsv",
            lambda f: read_responses(f, [number], remedy="x"),
            is_text=True,
        ),
        "transform": Reader(
            next((person / "transforms").glob("*.nii.gz")),
            lambda f: read_coordinates(f, shape, remedy="x"),
        ),
        "region": Reader(
            person / "anat/roi/prf-visualrois.nii.gz", lambda f: read_labels(f, remedy="x")
        ),
        "label table": Reader(
            label / "label/prf-visualrois.mgz.ctab",
            lambda f: read_label_table(f, remedy="x"),
            is_text=True,
            has_no_length=True,
        ),
        "onsets": Reader(
            onsets, lambda f: read_onsets(f, remedy="x"), is_text=True, has_no_length=True
        ),
    }
    packed = next(betas.glob("betas_session*.nii.gz"), None)
    if vertices is not None:
        readers["vertices"] = Reader(vertices, lambda f: read_surface(f, 3, remedy="x"))
    if packed is not None:
        readers["betas, nii.gz"] = Reader(packed, lambda f: read_session_betas(f, mask, remedy="x"))
    if captions is not None:
        known = read_coco_ids(experiments / "nsd_stim_info_merged.csv", np.arange(0), remedy="x")
        readers["captions"] = Reader(
            captions,
            lambda f: read_captions(f.parent, np.arange(0), *known),
            is_text=True,
            beside=(captions.with_name("captions_val2017.json"),),
        )
    return readers


def of_users(folder):
    """The readers of files that users bring, by name; the files are written to a folder."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    betas, ids = rng.normal(size=(6, 9)).astype(np.float32), np.arange(6)
    np.save(folder / "betas.npy", betas)
    np.savez(folder / "betas.npz", betas_percent=betas, image_ids_0based=ids)
    with h5py.File(folder / "pictures.h5", "w") as file:
        file["image_ids"] = ids
        file["images"] = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    with h5py.File(folder / "nsd_stimuli.hdf5", "w") as file:
        file["imgBrick"] = rng.integers(0, 256, (3, 425, 425, 3), dtype=np.uint8)
    pictures = folder / "pictures"
    pictures.mkdir()
    for name in ("1.png", "2.png"):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(pictures / name)
    write_folder(folder / "experiment")
    trials = folder / "experiment" / PERSON / "trials.csv"
    return {
        "trials.csv": Reader(
            trials,
            lambda f: read_table(f, ("session", "run", "trial", "image_id")),
            is_text=True,
            has_no_length=True,
        ),
        "betas.npy": Reader(folder / "betas.npy", lambda f: read_betas(f, 3)),
        "betas.npz": Reader(folder / "betas.npz", lambda f: read_betas(f, None)),
        "stimuli": Reader(
            folder / "nsd_stimuli.hdf5",
            lambda f: list(iterate_images(f, np.arange(2), remedy="x")),
            is_hdf5=True,
        ),
        "pictures.h5": Reader(folder / "pictures.h5", read_pictures, is_hdf5=True),
        "a picture": Reader(pictures / "1.png", lambda f: read_pictures(f.parent)),
    }
