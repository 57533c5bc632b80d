"""Captions of NSD's pictures: COCO's caption files, joined through the stimulus table.

NSD's pictures are crops of COCO's (2017 release), so each has five captions by different people.
``nsd_stim_info_merged.csv`` says for every 73k id which picture of COCO it is, and in which of
COCO's two splits.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.project.exceptions import FormatError, MissingDataError
from fmri2img.project.files import check_file

# COCO's name of a split, as in the column cocoSplit, to its caption file.
CAPTION_FILES = {"train2017": "captions_train2017.json", "val2017": "captions_val2017.json"}


def read_coco_ids(
    path: Path, image_ids: np.ndarray, *, remedy: str
) -> tuple[np.ndarray, np.ndarray]:
    """Look up pictures in the stimulus table.

    Parameters
    ----------
    path : Path
        ``nsd_stim_info_merged.csv``.
    image_ids : ndarray, shape (n,)
        0-based 73k ids.
    remedy : str
        The command that fetches the file.

    Returns
    -------
    coco_ids : ndarray, shape (n,), int64
    splits : ndarray, shape (n,), str
        Keys of `CAPTION_FILES`.

    Raises
    ------
    MissingDataError
        If the file or a picture is not there.
    FormatError
        If it is not such a table.
    """
    check_file(path, remedy)
    try:
        table = pd.read_csv(
            path,
            usecols=["nsdId", "cocoId", "cocoSplit"],
            dtype={"nsdId": np.int64, "cocoId": np.int64, "cocoSplit": str},
        ).set_index("nsdId")
    except (ValueError, pd.errors.ParserError) as error:
        raise FormatError(
            f"{path}: expected the columns nsdId, cocoId and cocoSplit ({error}); run: {remedy}"
        ) from error
    if absent := sorted(set(image_ids.tolist()) - set(table.index)):
        raise MissingDataError(
            f"{path}: {len(absent)} of {len(image_ids)} pictures are not in it, first 73k id "
            f"{absent[0]}; run: {remedy}"
        )
    rows = table.loc[image_ids]
    if unknown := sorted(set(rows["cocoSplit"]) - set(CAPTION_FILES)):
        raise FormatError(
            f"{path}: cocoSplit has {unknown[0]!r}, expected one of {', '.join(CAPTION_FILES)}; "
            f"run: {remedy}"
        )
    return rows["cocoId"].to_numpy(np.int64), rows["cocoSplit"].to_numpy(str)


def read_captions(
    folder: Path, image_ids: np.ndarray, coco_ids: np.ndarray, splits: np.ndarray
) -> dict[int, list[str]]:
    """Collect the captions of pictures from COCO's files.

    Parameters
    ----------
    folder : Path
        Folder that holds the files of `CAPTION_FILES`.
    image_ids, coco_ids, splits : ndarray, shape (n,)
        As `read_coco_ids` takes and returns them.

    Returns
    -------
    dict of int to list of str
        73k id to captions, stripped of outer blanks, in the order of their ids in the files.

    Raises
    ------
    MissingDataError
        If a file is not there, or a picture has no captions.
    FormatError
        If a file does not have COCO's format.
    """
    captions: dict[int, list[str]] = {}
    for split in np.unique(splits):
        path = folder / CAPTION_FILES[split]
        by_picture = _read_file(path)
        mine = splits == split
        absent = [
            pair
            for pair in zip(image_ids[mine].tolist(), coco_ids[mine].tolist(), strict=True)
            if not by_picture.get(pair[1])
        ]
        if absent:
            raise MissingDataError(
                f"{path}: {len(absent)} of {mine.sum()} pictures have no captions, first 73k id "
                f"{absent[0][0]} (cocoId {absent[0][1]}); "
                "take COCO's caption files of 2017 as they are published"
            )
        captions |= {
            image_id: by_picture[coco_id]
            for image_id, coco_id in zip(
                image_ids[mine].tolist(), coco_ids[mine].tolist(), strict=True
            )
        }
    return dict(sorted(captions.items()))


def _read_file(path: Path) -> dict[int, list[str]]:
    remedy = (
        "name the folder with COCO's captions_train2017.json and captions_val2017.json in "
        "params.yaml, fetch_captions.folder"
    )
    if path.exists() and not path.is_file():  # to open a pipe would wait for ever
        raise FormatError(f"{path}: is no file; {remedy}")
    if not path.exists():
        raise MissingDataError(f"{path} not found; {remedy}")
    by_picture: dict[int, list[str]] = {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for item in sorted(content["annotations"], key=lambda item: item["id"]):
            by_picture.setdefault(item["image_id"], []).append(item["caption"].strip())
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise FormatError(
            f"{path}: expected annotations with id, image_id and caption, got {error!r}; {remedy}"
        ) from error
    return {
        picture: texts
        for picture, captions in by_picture.items()
        if (texts := [text for text in captions if text])
    }
