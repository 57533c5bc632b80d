"""What an experiment in a folder holds already, and what it lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import TypeAdapter, ValidationError

from fmri2img.datasets.alike import alike_groups
from fmri2img.datasets.folder.beta_files import SUFFIXES, TRIALS, beta_files, files_of_sessions
from fmri2img.datasets.folder.label_files import label_files, set_name
from fmri2img.datasets.folder.picture_files import (
    ARRAY,
    PICTURES,
    count_picture_rows,
    read_picture_files,
    read_picture_rows,
    read_picture_table,
)
from fmri2img.datasets.folder_tables import read_declared, read_table, whole_numbers
from fmri2img.datasets.nsd.volumes import read_volume
from fmri2img.project.config import Subject
from fmri2img.project.exceptions import MismatchError, MissingDataError
from fmri2img.project.files import write_text
from fmri2img.project.progress import progress

DECLARED = "dataset.yaml"
_SUFFIXES = ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"
_MOST_REPETITIONS = 127
# What cannot be read off any file.
_ASKED = {
    "title": "its name in tables and on pages",
    "unit": "unit of the betas, such as percent signal change or z-score",
    "voxel_mm": "side of a voxel in mm",
    "terms": 'a sentence that says who may have the data; "" for anybody',
}
_KEYS = (
    *("title", "subjects", "unit", "voxel_mm", "picture_side"),
    *("n_repetitions", "ids", "missing", "terms"),
)


@dataclass(frozen=True)
class TestImages:
    """Which images to set apart for tests, where no table says so yet.

    Attributes
    ----------
    fraction : float or None
        Share of the images that were shown, drawn at random; those that look alike stay together.
        None: a tenth.
    sessions : tuple of int
        If any: all images that these sessions showed, instead.
    """

    fraction: float | None = None
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
        What has to be added or corrected, each in one line.
    notes : list of str
    sets : list of str or None
        Sets of regions that all subjects have; None if no subject has any.
    """

    root: Path
    facts: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sets: list[str] | None = None

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
        if self.sets == []:
            self.missing.append(f"{self.root}: a set of regions that all subjects have, by name")
        self._pictures(shown, test_images)
        self.facts["missing"] = "masked"
        if all(map(_is_subject, subjects)):
            self.facts["subjects"] = subjects
        if all(len(table) for table in tables.values()):
            most = int(shown.groupby(["subject", "image_id"]).size().max())
            self.facts["n_repetitions"] = most
            if most > _MOST_REPETITIONS:
                self.missing.append(
                    f"{self.root}: an image was shown {most} times, {_MOST_REPETITIONS} can be "
                    "counted: leave trials out"
                )
        self._declare(told)

    def _subjects(self) -> list[str]:
        folders = sorted(path for path in self.root.glob("[!.]*") if path.is_dir())
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
        self.missing += [
            f"{self.root / name}: a name of letters, digits and _ for this folder"
            for name in people
            if not _is_subject(name)
        ]
        return people

    def _trials(self, name: str) -> pd.DataFrame:
        path, columns = self.root / name / TRIALS, ("session", "run", "trial", "image_id")
        table = pd.DataFrame(columns=columns, dtype=str)
        if path.is_file():
            table = read_table(path, columns)
            table["session"] = whole_numbers(path, table["session"])
        if table.empty:
            self.missing.append(
                f"{path}: a table {','.join(columns)} with a line for each trial, in time order"
            )
        return table

    def _responses(self, name: str, trials: pd.DataFrame) -> None:
        """Look at one subject's betas and regions."""
        folder, sessions = self.root / name, sorted({*trials["session"]})
        if (folder / "voxels.csv").is_file():
            if not (folder / "betas.npy").is_file():
                self.missing.append(f"{folder}/betas.npy: float32, (trials, lines of voxels.csv)")
            columns = read_table(folder / "voxels.csv", ("i", "j", "k")).columns
            self._keep_sets([str(column) for column in columns if column not in ("i", "j", "k")])
            return
        files = beta_files(folder)
        if not files:
            self.missing.append(
                f"{folder}/betas: a file for each session ({', '.join(SUFFIXES)}), volumes or as "
                "GLMsingle writes them"
            )
        elif sessions:
            try:
                files_of_sessions(files, sessions)
            except MismatchError as error:
                self.missing.append(f"{folder}/{error}")
        volumes = [file for file in label_files(folder) if set_name(file)]
        if not volumes:
            self.missing.append(
                f"{folder}/regions: a label volume on the grid of the betas, such as "
                "visual.nii.gz, with visual.csv (label,name)"
            )
            return
        image = read_volume(folder / volumes[0], remedy="fmri2img new-dataset, with another file")
        self.facts["voxel_mm"] = round(float(np.linalg.norm(image.affine[:3, 0])), 3)
        names = [set_name(file) for file in volumes]
        self._keep_sets(names)
        self.notes.append(
            f"{name}: {len(trials)} trials in {len(sessions)} sessions, {_count(files)} of betas, "
            f"regions {', '.join(names)}"
        )

    def _keep_sets(self, names: list[str]) -> None:
        """Keep the sets of regions that all subjects have so far."""
        self.sets = names if self.sets is None else [one for one in self.sets if one in names]

    def _pictures(self, shown: pd.DataFrame, test_images: TestImages) -> None:
        """Look at the pictures; write their table if there is none and all are there."""
        path = self.root / PICTURES
        table = read_picture_table(path, "texts") if path.is_file() else _listed(self.root)
        if table.empty:
            self.missing.append(
                f"{self.root}/pictures: the pictures, all square and of one size, named by image id"
            )
            return
        texts = pd.concat([table["image_id"], shown["image_id"]])
        is_number = bool(texts.str.fullmatch(r"\d{1,18}").all())
        self.facts["ids"] = "numbers" if is_number else "texts"
        names, asked = (
            ids.astype(int).astype(str) if is_number else ids
            for ids in (table["image_id"], shown["image_id"])
        )
        groups = alike_groups(self._one_size(table))
        n_faults = len(self.missing)
        self._compare_ids(names, asked)
        alike = pd.Series(groups).duplicated(keep=False).to_numpy()
        for _, group in names[alike].groupby(groups[alike]):
            self.notes.append(f"look alike, and stay together: {', '.join(group)}")
        if path.is_file():
            self._check_table(path, table, groups, test_images)
        elif len(self.missing) == n_faults and len(shown) and "picture_side" in self.facts:
            is_shown = names.isin({*asked}).to_numpy()
            of_sessions = names.isin({*asked[shown["session"].isin(test_images.sessions)]})
            chosen = (
                self._of_sessions(of_sessions.to_numpy(), groups, shown, test_images.sessions)
                if test_images.sessions
                else _drawn(is_shown, groups, test_images.fraction or 0.1)
            )
            self._write_table(path, table.assign(is_test=chosen.astype(int)), is_shown)

    def _compare_ids(self, names: pd.Series, asked: pd.Series) -> None:
        """Note pictures without trials, and trials without one picture."""
        if names.duplicated().any():
            twice = names[names.duplicated()].iloc[0]
            self.missing.append(f"{self.root}/pictures: one picture of image {twice}, not several")
        if unknown := sorted({*asked} - {*names}):
            self.missing.append(f"pictures of images that trials name: {_some(unknown)}")
        if unseen := sorted({*names} - {*asked}):
            self.notes.append(f"pictures that no trial showed: {_some(unseen)}")

    def _one_size(self, table: pd.DataFrame) -> Iterator[np.ndarray]:
        """Yield the pictures; notes their size if it is the same for all."""
        if "row" in table:
            pictures = read_picture_rows(self.root / ARRAY, list(table["row"].astype(int)))
        else:
            pictures = read_picture_files([self.root / path for path in table["path"]])
        sizes: dict[tuple[int, ...], str] = {}
        pairs = zip(table["image_id"], pictures, strict=True)
        for name, picture in progress("pictures")(pairs, total=len(table)):
            sizes.setdefault(picture.shape[:2], name)
            yield picture
        if len(sizes) > 1 or len({*next(iter(sizes))}) > 1:
            examples = ", ".join(
                f"{name} {height} x {width}" for (height, width), name in list(sizes.items())[:3]
            )
            self.missing.append(f"pictures that are square and of one size ({examples}): crop them")
            return
        self.facts["picture_side"] = next(iter(sizes))[0]

    def _of_sessions(
        self,
        of_sessions: np.ndarray,
        groups: np.ndarray,
        shown: pd.DataFrame,
        sessions: Sequence[int],
    ) -> np.ndarray:
        """Return the images that some sessions showed, and those that look like them."""
        known = sorted({*shown["session"]})
        if absent := sorted({*sessions} - {*known}):
            raise MismatchError(
                f"--test-sessions: no subject has a session {absent[0]}; choose from: "
                f"{', '.join(map(str, known))}"
            )
        return np.isin(groups, groups[of_sessions])

    def _write_table(self, path: Path, table: pd.DataFrame, is_shown: np.ndarray) -> None:
        n_test, n_shown = int(table["is_test"][is_shown].sum()), int(is_shown.sum())
        if n_test > n_shown / 2:
            raise MismatchError(
                f"{path}: {n_test} of {n_shown} images that were shown would be test images, which "
                "leaves too few to learn from; choose fewer, or write the table yourself "
                "(image_id,file,is_test)"
            )
        columns = ["image_id", "row" if "row" in table else "file", "is_test"]
        write_text(path, table[columns].to_csv(index=False, lineterminator="\n"))
        self.notes.append(f"{path}: written, {n_test} of {n_shown} images set apart for tests")

    def _check_table(
        self, path: Path, table: pd.DataFrame, groups: np.ndarray, test_images: TestImages
    ) -> None:
        """Refuse a table in which pictures that look alike are on both sides."""
        if test_images.fraction is not None or test_images.sessions:
            self.missing.append(
                f"{path}: it says already which images are for tests; delete it to choose anew"
            )
        for _, group in table.groupby(groups):
            if group["is_test"].nunique() > 1:
                test, training = (
                    group[group["is_test"] == one]["image_id"] for one in (True, False)
                )
                raise MismatchError(
                    f"{path}: {test.iloc[0]}, a test image, looks like {training.iloc[0]}, a "
                    "training image; give both the same is_test"
                )

    def _declare(self, told: dict[str, str]) -> None:
        """Write ``dataset.yaml``, add what it lacks, and name what contradicts the files."""
        path = self.root / DECLARED
        declared, text = read_declared(path) if path.is_file() else ({}, "")
        known = {"title": self.root.resolve().name} | told | self.facts
        for key, value in known.items():
            is_free = key == "missing" or (key == "title" and key not in told)
            if key in declared and not is_free and not _agrees(declared[key], value):
                self.missing.append(
                    f"{path}: {key} is {declared[key]!r}, and "
                    f"{'the option says' if key in told else 'the files say'} {value!r}: correct "
                    "one of them"
                )
        fresh = {key: value for key, value in known.items() if key not in declared}
        absent = [key for key in _KEYS if key not in declared | fresh]
        meanings = {key: _ASKED.get(key, "which no file tells yet") for key in absent}
        if fresh:
            ours = tuple(f"# {key}:   # " for key in _KEYS)
            kept = [f"{line}\n" for line in text.splitlines() if not line.startswith(ours)]
            asked = [f"# {key}:   # {meaning}\n" for key, meaning in meanings.items()]
            ordered = {key: fresh[key] for key in _KEYS if key in fresh}
            added = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True)
            write_text(path, "".join([*kept, added, *asked]))
            self.notes.append(f"{path}: written" if not text else f"{path}: {', '.join(ordered)}")
        self.missing += [f"{path}: {key} ({meaning})" for key, meaning in meanings.items()]


def _agrees(declared: object, value: object) -> bool:
    """Whether a declared value is what files say: in any order, and numbers may count as texts."""
    if isinstance(declared, list) and isinstance(value, list):
        return sorted(map(str, declared)) == sorted(value)
    return declared == value or (declared == "texts" and value == "numbers")


def _some(names: Sequence[str]) -> str:
    """Name the first, and how many more there are."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _count(files: Sequence[object]) -> str:
    return f"{len(files)} file{'s' if len(files) > 1 else ''}"


def _is_subject(name: str) -> bool:
    try:
        TypeAdapter(Subject).validate_python(name)
    except ValidationError:
        return False
    return True


def _listed(root: Path) -> pd.DataFrame:
    """Return the pictures of a folder without a table; ids are names of files, or rows."""
    if (root / ARRAY).is_file():
        rows = np.arange(count_picture_rows(root / ARRAY))
        return pd.DataFrame({"image_id": rows.astype(str), "row": rows})
    folder = root / "pictures"
    files = sorted(folder.glob("[!.]*")) if folder.is_dir() else []
    names = [file.name for file in files if file.suffix.lower() in _SUFFIXES]
    return pd.DataFrame(
        {
            "image_id": pd.Series([Path(name).stem for name in names], dtype=str),
            "file": names,
            "path": [Path("pictures") / name for name in names],
        }
    )


def _drawn(is_shown: np.ndarray, groups: np.ndarray, fraction: float) -> np.ndarray:
    """Draw images that were shown, whole groups of those that look alike, shape (n_images,),
    bool.
    """
    order = np.random.default_rng(0).permutation(np.unique(groups[is_shown]))
    sizes = pd.Series(groups[is_shown]).value_counts()[order].cumsum()
    n_groups = int((sizes < max(2, fraction * int(is_shown.sum()))).sum()) + 1
    return np.isin(groups, order[:n_groups])
