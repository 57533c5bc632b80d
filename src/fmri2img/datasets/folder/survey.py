"""What an experiment in a folder holds already, and what it lacks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import yaml

from fmri2img.containers.storage import array_fault
from fmri2img.datasets.folder.alike import alike_groups
from fmri2img.datasets.folder.beta_files import SUFFIXES, TRIALS, beta_files
from fmri2img.datasets.folder.label_files import label_files, set_name
from fmri2img.datasets.folder.picture_files import (
    ARRAY,
    PICTURES,
    read_picture_files,
    read_picture_rows,
    read_picture_table,
)
from fmri2img.datasets.folder_tables import read_table
from fmri2img.datasets.nsd.volumes import read_volume
from fmri2img.project.exceptions import FormatError, MismatchError, MissingDataError
from fmri2img.project.files import write_text

DECLARED = "dataset.yaml"
_PICTURES = ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"
_REMEDY = "put a file in its place that can be read"
# What cannot be read off any file.
_ASKED = {
    "title": "its name in tables and on pages",
    "unit": "unit of the betas, such as percent signal change or z-score",
    "terms": 'a sentence that says who may have the data; "" for anybody',
}


@dataclass(frozen=True)
class TestImages:
    """Which images to set apart for tests, where no table says so yet.

    Attributes
    ----------
    fraction : float
        Share of the images, drawn at random; those that look alike stay together.
    sessions : tuple of int
        If any: all images that these sessions showed, instead.
    """

    fraction: float = 0.1
    sessions: tuple[int, ...] = ()


@dataclass
class Survey:
    """A folder as it is.

    Attributes
    ----------
    root : Path
    facts : dict
        What files tell of the keys of ``dataset.yaml``.
    missing : list of str
        What has to be added, each in one line.
    notes : list of str
    """

    root: Path
    facts: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def complete(self, told: dict[str, str], test_images: TestImages) -> None:
        """Look at every file, and write the tables that are not there yet.

        Parameters
        ----------
        told : dict of str to str
            Values of keys that no file tells.
        test_images : TestImages
        """
        subjects = self._subjects()
        tables = {name: self._trials(name) for name in subjects}
        shown = pd.concat([table.assign(subject=name) for name, table in tables.items()])
        for name, table in tables.items():
            self._responses(name, table)
        self._pictures(shown, test_images)
        self.facts |= {"subjects": subjects, "missing": "masked"}
        if len(shown):
            counts = shown.groupby(["subject", "image_id"]).size()
            self.facts["n_repetitions"] = int(counts.max())
            self.facts["ids"] = "numbers" if shown["image_id"].str.isdigit().all() else "texts"
        self._declare(told)

    def _subjects(self) -> list[str]:
        folders = sorted(path for path in self.root.iterdir() if path.is_dir())
        people = [
            path.name
            for path in folders
            if (path / TRIALS).is_file() or beta_files(path) or label_files(path)
        ]
        if not people:
            raise MissingDataError(
                f"{self.root}: no folder of a subject, expected <subject>/{TRIALS} and betas; see "
                "docs/own-data.md"
            )
        return people

    def _trials(self, name: str) -> pd.DataFrame:
        path = self.root / name / TRIALS
        if path.is_file():
            return read_table(path, ("session", "run", "trial", "image_id"))
        self.missing.append(
            f"{path}: a table session,run,trial,image_id with a line for each trial, in time order"
        )
        return pd.DataFrame(columns=["session", "run", "trial", "image_id"], dtype=str)

    def _responses(self, name: str, trials: pd.DataFrame) -> None:
        """Look at one subject's betas and regions."""
        folder = self.root / name
        n_sessions = trials["session"].nunique()
        if (folder / "voxels.csv").is_file():
            if not (folder / "betas.npy").is_file():
                self.missing.append(f"{folder}/betas.npy: float32, (trials, lines of voxels.csv)")
            return
        files = beta_files(folder)
        if not files:
            self.missing.append(
                f"{folder}/betas: a file for each session ({', '.join(SUFFIXES)}), volumes or as "
                "GLMsingle writes them"
            )
        elif len(files) > 1 and n_sessions and len(files) != n_sessions:
            self.missing.append(
                f"{folder}/betas: {len(files)} files for the {n_sessions} sessions of {TRIALS}"
            )
        volumes = [file for file in label_files(folder) if set_name(file)]
        if not volumes:
            self.missing.append(
                f"{folder}/regions: a label volume on the grid of the betas, such as "
                "visual.nii.gz, with visual.csv (label,name)"
            )
            return
        image = read_volume(folder / volumes[0], remedy=_REMEDY)
        self.facts["voxel_mm"] = round(float(np.linalg.norm(image.affine[:3, 0])), 3)
        self.notes.append(
            f"{name}: {len(trials)} trials in {n_sessions} sessions, {len(files)} files of betas, "
            f"regions {', '.join(set_name(file) for file in volumes)}"
        )

    def _pictures(self, shown: pd.DataFrame, test_images: TestImages) -> None:
        """Look at the pictures; write their table if there is none."""
        path = self.root / PICTURES
        table = read_picture_table(path, "texts") if path.is_file() else _listed(self.root)
        if table.empty:
            self.missing.append(
                f"{self.root}/pictures: the pictures, all square and of one size, named by image id"
            )
            return
        groups = alike_groups(self._one_size(table))
        if "picture_side" not in self.facts:
            return
        alike = pd.Series(groups).duplicated(keep=False)
        for _, group in table[alike].groupby(groups[alike]):
            self.notes.append(f"look alike, and stay together: {', '.join(group['image_id'])}")
        if unknown := sorted({*shown["image_id"]} - {*table["image_id"]}):
            self.missing.append(f"pictures of {len(unknown)} images, such as {unknown[0]}")
        if unseen := sorted({*table["image_id"]} - {*shown["image_id"]}):
            self.notes.append(f"{len(unseen)} pictures that no trial showed, such as {unseen[0]}")
        if not path.is_file():
            table["is_test"] = _chosen(table, groups, shown, test_images)
            columns = ["image_id", "row" if "row" in table else "file", "is_test"]
            write_text(path, table[columns].to_csv(index=False, lineterminator="\n"))
            self.notes.append(
                f"{path}: written, {table['is_test'].sum()} of {len(table)} images set apart for "
                "tests"
            )
        else:
            _check_sides(path, table, groups)

    def _one_size(self, table: pd.DataFrame) -> Iterator[np.ndarray]:
        """Yield the pictures; notes their size if it is the same for all."""
        if "row" in table:
            pictures = read_picture_rows(self.root / ARRAY, list(table["row"].astype(int)))
        else:
            pictures = read_picture_files([self.root / path for path in table["path"]])
        sizes: dict[tuple[int, ...], str] = {}
        for name, picture in zip(table["image_id"], pictures, strict=True):
            sizes.setdefault(picture.shape[:2], name)
            yield picture
        if len(sizes) > 1 or len({*next(iter(sizes))}) > 1:
            examples = ", ".join(
                f"{name} {height} x {width}" for (height, width), name in list(sizes.items())[:3]
            )
            self.missing.append(f"pictures that are square and of one size ({examples}): crop them")
            return
        self.facts["picture_side"] = next(iter(sizes))[0]

    def _declare(self, told: dict[str, str]) -> None:
        """Write ``dataset.yaml``, or compare the one that is there."""
        path = self.root / DECLARED
        if path.is_file():
            declared = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            for key, value in self.facts.items():
                if key in declared and declared[key] != value and key not in ("missing", "ids"):
                    self.notes.append(f"{DECLARED}: {key} is {declared[key]}, files say {value}")
        else:
            declared = told | self.facts
            text = yaml.safe_dump(declared, sort_keys=False, allow_unicode=True)
            asked = {key: _ASKED[key] for key in _ASKED if key not in declared}
            if "voxel_mm" not in declared:
                asked["voxel_mm"] = "side of a voxel in mm"
            lines = [f"# {key}:   # {meaning}\n" for key, meaning in asked.items()]
            write_text(path, "".join([*lines, text]))
            self.notes.append(f"{path}: written")
        known = {*_ASKED, "voxel_mm", "picture_side", "n_repetitions"}
        self.missing += [
            f"{path}: {key} ({_ASKED.get(key, 'which no file tells')})"
            for key in sorted(known - declared.keys())
        ]


def _listed(root: Path) -> pd.DataFrame:
    """Return the pictures of a folder without a table; ids are names of files, or rows."""
    if (root / ARRAY).is_file():
        try:
            with h5py.File(root / ARRAY, "r", locking=False) as file:
                fault = array_fault(file, "pictures")
                n_pictures = 0 if fault else len(file["pictures"])
        except OSError as error:
            raise FormatError(
                f"{root / ARRAY}: not a readable HDF5 file ({error}); write it anew"
            ) from error
        if fault:
            raise FormatError(f"{root / ARRAY}: {fault}; write the file anew")
        rows = np.arange(n_pictures)
        return pd.DataFrame({"image_id": rows.astype(str), "row": rows})
    folder = root / "pictures"
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    names = [file.name for file in files if file.suffix.lower() in _PICTURES]
    return pd.DataFrame(
        {
            "image_id": [Path(name).stem for name in names],
            "file": names,
            "path": [Path("pictures") / name for name in names],
        }
    )


def _chosen(
    table: pd.DataFrame, groups: np.ndarray, shown: pd.DataFrame, test_images: TestImages
) -> np.ndarray:
    """Return which images are for tests, whole groups of them, shape (n_images,), int."""
    if test_images.sessions:
        wanted = {str(number) for number in test_images.sessions}
        if absent := sorted(wanted - {*shown["session"]}):
            raise MismatchError(
                f"--test-sessions: no subject has a session {absent[0]}; choose from: "
                f"{', '.join(sorted({*shown['session']}))}"
            )
        there = {*shown.loc[shown["session"].isin(wanted), "image_id"]}
        of_session = table["image_id"].isin(there).to_numpy()
        return np.isin(groups, groups[of_session]).astype(int)
    order = np.random.default_rng(0).permutation(np.unique(groups))
    sizes = pd.Series(groups).value_counts()[order].cumsum()
    n_groups = int((sizes < max(2, test_images.fraction * len(table))).sum()) + 1
    return np.isin(groups, order[:n_groups]).astype(int)


def _check_sides(path: Path, table: pd.DataFrame, groups: np.ndarray) -> None:
    """Refuse a table in which pictures that look alike are on both sides."""
    for _, group in table.groupby(groups):
        if group["is_test"].nunique() > 1:
            test, training = (group[group["is_test"] == one]["image_id"] for one in (True, False))
            raise MismatchError(
                f"{path}: {test.iloc[0]}, a test image, looks like {training.iloc[0]}, a training "
                "image; give both the same is_test"
            )
