"""A small experiment in LAION-fMRI's layout, for tests and tutorials: file names, tables and
formats are theirs, pictures and responses are made up. SIMULATED DATA.

Each voxel sees the brightness and colours of a part of the picture; the left hemisphere sees the
right half.
"""

import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd
from PIL import Image

from fmri2img.datasets.laion import laion_paths as paths
from fmri2img.datasets.laion.laion_pictures import SIDE
from fmri2img.datasets.marks import MARK
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.project.files import write_json, write_text
from fmri2img.provenance.receipts import SIMULATED_NOTICE

_GRID, _VOXEL_MM, _CELLS = (12, 10, 9), 1.778, 4
_SMALL_SIDE = 64  # pictures are painted at this size, and enlarged


@dataclass(frozen=True)
class SmallExperiment:
    """How much is written.

    Attributes
    ----------
    subjects : tuple of str
    n_sessions, n_shared, n_unique : int
        Sessions; pictures that all subjects see, 12 times; pictures of one subject, 4 times.
    noise : float
        SD of the noise, in SDs of the signal.
    seed : int
    """

    subjects: tuple[str, ...] = ("sub01",)
    n_sessions: int = 2
    n_shared: int = 10
    n_unique: int = 30
    noise: float = 1.0
    seed: int = 5


def write_laion(root: Path, experiment: SmallExperiment) -> None:
    """Write the experiment's files below ``root``."""
    rng = np.random.default_rng(experiment.seed)
    write_text(root / SIMULATED_NOTICE, f"{MARK}\n")
    names = _write_pictures(root, experiment)
    for number, subject in enumerate(experiment.subjects):
        _Subject(root, experiment, subject, number, names, rng.spawn(1)[0]).write()
    _write_split(root, "shared", names["shared"])


def _write_pictures(root: Path, experiment: SmallExperiment) -> dict[str, list[str]]:
    """Write pictures, their table and captions; returns the names of each subject's pictures."""
    n_plain = max(1, experiment.n_shared - 2)  # the last two are OOD, and partly transparent
    names = {
        "shared": [f"shared_12rep_LAION_cluster_{one}_i0.jpg" for one in range(n_plain)]
        + [f"shared_4rep_OOD_cropped_{one}.png" for one in range(experiment.n_shared - n_plain)]
    }
    for number, subject in enumerate(experiment.subjects, start=1):
        names[subject] = [
            f"unique_4rep_p{number:02d}_LAION_{one}_i0.jpg" for one in range(experiment.n_unique)
        ]
    rows: list[tuple] = []
    pictures: list[bytes] = []
    for owner, of_owner in names.items():
        for name in of_owner:
            pictures.append(_picture(experiment.seed, len(pictures), is_png=name.endswith("png")))
            kind = "shared" if owner == "shared" else "unique"
            dataset = "OOD" if "OOD" in name else "LAION-natural"
            rows.append((name, dataset, owner, kind, int(name.split("rep")[0].rpartition("_")[2])))
    path = root / paths.STIMULI
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file.attrs["source"] = MARK
        images = file.create_dataset("images", (len(pictures),), h5py.vlen_dtype(np.uint8))
        for row, content in enumerate(pictures):
            images[row] = np.frombuffer(content, np.uint8)
    columns = ("image_name", "dataset", "participant", "unique_or_shared", "n_reps")
    _write_table(root / paths.METADATA, pd.DataFrame(rows, columns=list(columns)))
    captions = [
        (name, 1, "human", f"a made-up scene, number {row}") for row, (name, *_) in enumerate(rows)
    ]
    table = pd.DataFrame(captions, columns=["image_name", "caption_idx", "source", "caption"])
    _write_table(root / paths.CAPTIONS, table)
    return names


def _picture(seed: int, number: int, *, is_png: bool) -> bytes:
    scene = Image.fromarray(render_image(seed, number, _SMALL_SIDE)).resize((SIDE, SIDE))
    content = io.BytesIO()
    if is_png:
        whole = scene.convert("RGBA")
        alpha = np.full((SIDE, SIDE), 255, np.uint8)
        alpha[: SIDE // 8] = 0
        whole.putalpha(Image.fromarray(alpha))
        whole.save(content, "PNG", compress_level=1)
    else:
        scene.save(content, "JPEG", quality=80)
    return content.getvalue()


def _write_table(path: Path, table: pd.DataFrame, separator: str = ",") -> None:
    """Write a table that says in the name of its last column that it is simulated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.assign(**{MARK: 1}).to_csv(index=False, sep=separator))


def _write_split(root: Path, pool: str, names: list[str]) -> None:
    regular = [name for name in names if "OOD" not in name]
    for name in paths.SPLITS:
        test = [one for one in names if "OOD" in one] if name == "ood" else regular[::5]
        train = [one for one in regular if one not in test]
        variant = {"variant_id": 0, "train_ids": train, "test_ids": test}
        sizes = {"n_train": len(train), "n_test": len(test)}
        content = {"name": name, "splitter": MARK, "params": {}, **sizes, "variants": [variant]}
        write_json(root / paths.split(name, pool), content)


class _Subject:
    """Files of one subject."""

    def __init__(
        self,
        root: Path,
        experiment: SmallExperiment,
        subject: str,
        number: int,
        names: dict[str, list[str]],
        rng: np.random.Generator,
    ) -> None:
        self.root, self.experiment, self.subject, self.rng = root, experiment, subject, rng
        self.names = [*names["shared"], *names[subject]]
        first = len(names["shared"]) + number * experiment.n_unique
        rows = [*range(len(names["shared"])), *range(first, first + experiment.n_unique)]
        self.cells = np.stack([self._cells(row) for row in rows])
        self.affine = np.diag([_VOXEL_MM] * 3 + [1.0])
        self.affine[:3, 3] = -_VOXEL_MM * (np.array(_GRID) - 1) / 2 + (0, 11, -4)

    def _cells(self, row: int) -> np.ndarray:
        """Return mean colours of a picture's parts, shape (rows, columns, 3), -1 to 1."""
        picture = render_image(self.experiment.seed, row, _SMALL_SIDE)
        small = Image.fromarray(picture).resize((_CELLS, _CELLS), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 127.5 - 1

    def write(self) -> None:
        """Write regions, noise ceilings, sessions and splits."""
        x, y, z = np.indices(_GRID)
        inside = (y > 1) & (z > 0)
        early, ventral = inside & (y < 5), inside & (y >= 5) & (z < 5)
        general = early | ventral | (inside & (y >= 5) & (z < 7))
        masks = {
            ("laion", "laion-general"): general,
            ("laion", "laion-EVC"): early,
            ("laion", "laion-ventral"): ventral,
            ("face", "FFA-1"): ventral & (x < 3),
        }
        bids = paths.bids_name(self.subject)
        for (category, label), mask in masks.items():
            name = f"{bids}_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
            self._save(paths.mask_folder(self.subject) / category / name, mask.astype(np.uint8))
        self._save(paths.explained(self.subject), (40.0 * inside).astype(np.float32))
        self._save(paths.noise_ceiling(self.subject), (30.0 * inside).astype(np.float32))
        self._write_sessions(inside)
        _write_split(self.root, self.subject, self.names)

    def _write_sessions(self, inside: np.ndarray) -> None:
        n_shown = [12 if "12rep" in name else 4 for name in self.names]
        order = self.rng.permutation(np.repeat(np.arange(len(self.names)), n_shown))
        responses = self._responses(inside)
        for session, rows in enumerate(np.array_split(order, self.experiment.n_sessions), start=1):
            noise = self.rng.normal(size=(len(rows), responses.shape[1]))
            betas = np.zeros((*_GRID, len(rows)), np.float32)
            betas[inside] = (3.1 * (responses[rows] + self.experiment.noise * noise)).T
            edge = tuple(np.argwhere(inside)[0])
            betas[edge] = np.nan  # as at the edge of their masks
            self._save(paths.betas(self.subject, session), betas)
            table = {
                "session": f"ses-{session:02d}",
                "run": [f"run-{1 + place * 12 // len(rows):02d}" for place in range(len(rows))],
                "beta_index": range(len(rows)),
                "label": [self.names[row] for row in rows],
            }
            path = self.root / paths.trials(self.subject, session)
            _write_table(path, pd.DataFrame(table), separator="\t")

    def _responses(self, inside: np.ndarray) -> np.ndarray:
        """Return responses to each picture, shape (n_pictures, n_voxels), of SD 1."""
        is_left = np.argwhere(inside)[:, 0] < _GRID[0] / 2
        weights = self.rng.normal(size=(_CELLS, _CELLS, 3, len(is_left)))
        columns = np.arange(_CELLS) < _CELLS // 2
        weights[:, columns] *= ~is_left
        weights[:, ~columns] *= is_left
        responses = np.tensordot(self.cells, weights, axes=3)
        scaled: np.ndarray = (responses - responses.mean(0)) / responses.std(0)
        return scaled

    def _save(self, path: PurePosixPath, values: np.ndarray) -> None:
        write_volume(self.root / path, values, _VOXEL_MM, description=MARK, affine=self.affine)
