import json

import numpy as np
import pytest

from fmri2img.datasets.nsd.coco_captions import read_captions
from fmri2img.datasets.simulation.scene_captions import N_CAPTIONS, caption_scene, write_captions
from fmri2img.datasets.simulation.scenes import CATEGORIES, describe_scene
from fmri2img.project.exceptions import ConfigError

IDS, COCO_IDS, SPLITS = (
    np.array([4, 7, 11]),
    np.array([901, 17, 300]),
    np.array(["val2017", "train2017", "train2017"]),
)
# What captions call a category, beside its own name.
WORDS = {"person": "man", "vehicle": "car", "building": "house"}


@pytest.fixture
def scenes(miniature):
    return miniature.nsd.simulation.model_copy(update={"pictures": "scenes"})


def test_five_different_captions_name_the_main_object():
    for image_id in range(60):
        scene = describe_scene(3, image_id)
        texts = caption_scene(scene, np.random.default_rng(image_id))
        assert len(set(texts)) == N_CAPTIONS
        names = {scene.category, WORDS.get(scene.category, scene.category)}
        assert all(any(name in text.lower() for name in names) for text in texts)
        others = set(CATEGORIES) - names - {"tree", "food"}
        assert not any(f"a {name} " in text.lower() for text in texts for name in others)


def test_files_have_cocos_form_and_are_read_back(scenes, tmp_path):
    write_captions(tmp_path, scenes, IDS, COCO_IDS, SPLITS)
    content = json.loads((tmp_path / "captions_train2017.json").read_text())
    assert {item["id"] for item in content["images"]} == {17, 300}
    assert all(set(item) == {"image_id", "id", "caption"} for item in content["annotations"])
    assert "imulated" in content["info"]["description"]
    found = read_captions(tmp_path, IDS, COCO_IDS, SPLITS)
    assert list(found) == IDS.tolist()
    assert all(len(texts) == N_CAPTIONS for texts in found.values())
    assert (
        any(describe_scene(scenes.seed, 4).category in text for text in found[4])
        or describe_scene(scenes.seed, 4).category in WORDS
    )


def test_the_same_seed_gives_the_same_bytes_whatever_else_is_described(scenes, tmp_path):
    write_captions(tmp_path / "a", scenes, IDS, COCO_IDS, SPLITS)
    write_captions(tmp_path / "b", scenes, IDS, COCO_IDS, SPLITS)
    assert (tmp_path / "a/captions_train2017.json").read_bytes() == (
        tmp_path / "b/captions_train2017.json"
    ).read_bytes()
    write_captions(tmp_path / "c", scenes, IDS[:2], COCO_IDS[:2], SPLITS[:2])
    alone, all_of_them = (
        read_captions(tmp_path / name, IDS[:2], COCO_IDS[:2], SPLITS[:2]) for name in "ca"
    )
    assert alone == all_of_them


def test_pictures_of_a_folder_cannot_be_described(miniature, tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"only painted scenes \(scenes\) can be described; name a folder .* "
        r"fetch_captions.folder",
    ):
        write_captions(tmp_path, miniature.nsd.simulation, IDS, COCO_IDS, SPLITS)
