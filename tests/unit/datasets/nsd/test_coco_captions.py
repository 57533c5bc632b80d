import json
import os

import numpy as np
import pandas as pd
import pytest

from fmri2img.datasets.nsd.coco_captions import read_captions, read_coco_ids
from fmri2img.project.exceptions import FormatError, MissingDataError

IDS, COCO_IDS, SPLITS = (
    np.array([2, 5, 9]),
    np.array([70, 30, 50]),
    np.array(["train2017", "val2017", "train2017"]),
)


@pytest.fixture
def folder(tmp_path):
    """COCO's form: several annotations a picture, in no order, of more pictures than NSD has."""
    texts = {
        "train2017": [
            (70, 4, " A dog. "),
            (70, 1, "Two dogs."),
            (50, 2, "Snow."),
            (99, 3, "Elsewhere."),
        ],
        "val2017": [(30, 9, "A cat.")],
    }
    for split, items in texts.items():
        annotations = [
            {"image_id": picture, "id": number, "caption": text} for picture, number, text in items
        ]
        (tmp_path / f"captions_{split}.json").write_text(json.dumps({"annotations": annotations}))
    return tmp_path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "nsd_stim_info_merged.csv"
    # As NSD ships it: an unnamed first column, rows in the order of nsdId, more columns than are
    # needed.
    rows = pd.DataFrame(
        {
            "cocoId": range(100, 112),
            "cocoSplit": ["val2017"] + 11 * ["train2017"],
            "loss": 0.5,
            "nsdId": range(12),
        }
    )
    rows.to_csv(path)
    return path


def test_captions_are_joined_by_coco_id_within_each_split(folder):
    assert read_captions(folder, IDS, COCO_IDS, SPLITS) == {
        2: ["Two dogs.", "A dog."],
        5: ["A cat."],
        9: ["Snow."],
    }


def test_the_table_is_read_by_73k_id(table):
    coco_ids, splits = read_coco_ids(table, np.array([9, 0, 3]), remedy="x")
    assert coco_ids.tolist() == [109, 100, 103]
    assert splits.tolist() == ["train2017", "val2017", "train2017"]


def test_the_simulated_table_is_like_the_published_one(miniature):
    coco_ids, splits = read_coco_ids(
        miniature.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv",
        np.arange(500),
        remedy="x",
    )
    assert len(set(coco_ids.tolist())) == 500
    assert set(splits.tolist()) == {"train2017", "val2017"}


def test_a_picture_without_captions_is_named_with_a_count(folder):
    with pytest.raises(
        MissingDataError,
        match=r"train2017.json: 1 of 2 pictures have no captions, first 73k id 9 \(cocoId 51\); "
        r"take COCO",
    ):
        read_captions(folder, IDS, np.array([70, 30, 51]), SPLITS)


def test_a_picture_with_blank_captions_has_none(folder):
    path = folder / "captions_val2017.json"
    path.write_text(path.read_text().replace("A cat.", "  "))
    with pytest.raises(MissingDataError, match="1 of 1 pictures have no captions, first 73k id 5"):
        read_captions(folder, IDS, COCO_IDS, SPLITS)


def test_a_pipe_is_refused(folder):
    path = next(folder.glob("*.json"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FormatError, match=r"is no file; name the folder"):
        read_captions(folder, IDS, COCO_IDS, SPLITS)


def test_a_missing_file_names_the_setting(folder):
    (folder / "captions_val2017.json").unlink()
    with pytest.raises(
        MissingDataError,
        match=r"captions_val2017.json not found; name the folder .* fetch_captions.folder",
    ):
        read_captions(folder, IDS, COCO_IDS, SPLITS)


@pytest.mark.parametrize(
    "content", ['{"images": []}', '{"annotations": [{"id": 1}]}', "[1, 2]", '{"annotations": [{"id']
)
def test_another_kind_of_json_is_refused(folder, content):
    (folder / "captions_val2017.json").write_text(content)
    with pytest.raises(FormatError, match=r"captions_val2017.json: "):
        read_captions(folder, IDS, COCO_IDS, SPLITS)


def test_a_table_of_something_else_is_refused(table):
    with pytest.raises(
        MissingDataError, match=r"1 of 2 pictures are not in it, first 73k id 12; run: bring"
    ):
        read_coco_ids(table, np.array([3, 12]), remedy="bring")
    table.write_text(table.read_text().replace("train2017", "test2015"))
    with pytest.raises(
        FormatError, match="cocoSplit has 'test2015', expected one of train2017, val2017"
    ):
        read_coco_ids(table, np.array([3]), remedy="x")
    table.write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="expected the columns nsdId, cocoId and cocoSplit"):
        read_coco_ids(table, np.array([3]), remedy="x")
    table.unlink()
    with pytest.raises(MissingDataError, match="not found; run: bring"):
        read_coco_ids(table, np.array([3]), remedy="bring")
