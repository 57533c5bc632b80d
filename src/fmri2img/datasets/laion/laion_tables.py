"""LAION-fMRI's tables: which picture each volume of betas belongs to, and the splits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.folder_tables import read_table
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import read_json
from fmri2img.project.plain_names import leads_elsewhere


@dataclass(frozen=True)
class NamedSplit:
    """Images of one of the splits that their package ships.

    Attributes
    ----------
    train, test : frozenset of str
    """

    train: frozenset[str]
    test: frozenset[str]


def read_trials(path: Path, *, remedy: str) -> pd.DataFrame:
    """Read the table of one session.

    Parameters
    ----------
    path : Path
        Columns ``run``, ``beta_index`` (from 0, in order) and ``label``, the picture's file name.
    remedy : str
        The command that fetches the file.

    Returns
    -------
    DataFrame
        ``volume`` (from 0), ``run``, ``trial`` (within the run, from 1) and ``image_id``, in the
        order of the volumes.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If a column is absent, a volume is named twice or not at all, runs are not in order, or a
        name leads elsewhere.
    """
    table = read_table(path, ("run", "beta_index", "label"), separator="\t", command=remedy)
    runs = table["run"].str.extract(r"^(?:run-)?(\d{1,3})$", expand=False)
    if runs.isna().any():
        wrong = table.loc[runs.isna(), "run"].iloc[0]
        raise FormatError(
            f"{path}: column run: got {wrong!r:.60}, expected numbers, or run-01 and so on; run: "
            f"{remedy}"
        )
    volumes = pd.to_numeric(table["beta_index"], errors="coerce")
    if not np.array_equal(np.sort(volumes), np.arange(len(table))):
        raise FormatError(
            f"{path}: column beta_index: expected each of 0 to {len(table) - 1} once; run: {remedy}"
        )
    if wrong := [name for name in table["label"] if leads_elsewhere(name)]:
        raise FormatError(
            f"{path}: column label: got {wrong[0]!r:.80}, expected names of files; run: {remedy}"
        )
    read = pd.DataFrame(
        {"volume": volumes.astype(int), "run": runs.astype(int), "image_id": table["label"]}
    )
    read = read.sort_values("volume", ignore_index=True)
    if not read["run"].is_monotonic_increasing:
        raise FormatError(
            f"{path}: column run: runs are not in the order of the volumes; run: {remedy}"
        )
    return read.assign(trial=read.groupby("run").cumcount() + 1)


def read_split(path: Path) -> NamedSplit:
    """Read one of the splits that their package ships.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is no split, or an image is on both sides.
    """
    remedy = f"cp -r .../laion_fmri/splits/data/. {path.parents[1]} (from their package)"
    variants = read_json(path, remedy=remedy, fields={"variants": list})["variants"]
    first = variants[0] if variants and isinstance(variants[0], dict) else {}
    sides = [first.get(name) for name in ("train_ids", "test_ids")]
    if not all(isinstance(ids, list) and {type(one) for one in ids} == {str} for ids in sides):
        raise FormatError(
            f"{path}: variants: expected names of images as train_ids and test_ids; run: {remedy}"
        )
    train, test = (frozenset(ids or ()) for ids in sides)
    if both := train & test:
        raise FormatError(
            f"{path}: {min(both)} is on both sides of the split, expected one side each; run: "
            f"{remedy}"
        )
    return NamedSplit(train, test)
