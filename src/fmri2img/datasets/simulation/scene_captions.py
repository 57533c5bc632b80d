"""Captions of painted scenes, in the form of COCO's caption files."""

from pathlib import Path

import numpy as np

from fmri2img.datasets.marks import MARK
from fmri2img.datasets.nsd.coco_captions import CAPTION_FILES
from fmri2img.datasets.simulation.scenes import Scene, describe_scene
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.files import write_json
from fmri2img.project.nsd_params import SimulationParams

N_CAPTIONS = 5  # per picture, as in COCO
_PLACES = {
    "meadow": ("in a green meadow", "on the grass", "in a field"),
    "street": ("on a grey street", "in the middle of a road", "on the pavement"),
    "beach": ("on a sandy beach", "by the sea", "on the sand"),
    "lake": ("on a lake", "on calm water", "by the water"),
    "snow": ("in the snow", "on a snowy field", "in a white winter landscape"),
    "desert": ("in a desert", "on dry sand", "in a dry landscape"),
    "room": ("in a room", "in front of a wall", "on a wooden floor"),
    "table": ("on a wooden table", "on a table top", "on a brown table"),
}
_SKIES = {
    "clear": ("under a blue sky", "on a sunny day"),
    "overcast": ("under a cloudy sky", "on a grey day"),
    "sunset": ("at sunset", "in the evening light"),
    "dusk": ("at dusk", "in the dark"),
    "indoors": ("indoors", "inside a house"),
}
_VIEWS = ("a photo of {}", "a picture of {}", "{}", "there is {}", "a view of {}")
_NAMES = {
    "person": ("a person", "a man standing"),
    "animal": ("an animal", "a four-legged animal"),
    "vehicle": ("a vehicle", "a car"),
    "building": ("a building", "a house"),
    "tree": ("a tree", "a tall tree"),
    "boat": ("a boat", "a small boat"),
    "food": ("food", "a plate of food"),
    "flower": ("a flower", "a blooming flower"),
    "balloon": ("a balloon", "a colourful balloon"),
    "vase": ("a vase", "a decorated vase"),
}


def caption_scene(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Return `N_CAPTIONS` different sentences that name the objects, place and light of a scene."""
    texts = []
    for view in rng.permutation(_VIEWS):
        name, place, sky = (
            str(rng.choice(words))
            for words in (_NAMES[scene.category], _PLACES[scene.setting], _SKIES[scene.sky])
        )
        others = (
            f" and {scene.n_objects - 1} other thing{'s' if scene.n_objects > 2 else ''}"
            if scene.n_objects > 1
            else ""
        )
        text = str(view).format(f"{name}{others} {place} {sky}")
        texts.append(f"{text[0].upper()}{text[1:]}.")
    return texts


def write_captions(
    folder: Path,
    simulation: SimulationParams,
    image_ids: np.ndarray,
    coco_ids: np.ndarray,
    splits: np.ndarray,
) -> None:
    """Write a caption file for each of COCO's splits.

    Parameters
    ----------
    folder : Path
    simulation : SimulationParams
    image_ids : ndarray, shape (n,)
        0-based 73k ids of painted scenes.
    coco_ids : ndarray, shape (n,)
        COCO ids of the pictures, as in the stimulus table.
    splits : ndarray of str, shape (n,)
        ``train2017`` or ``val2017``.

    Raises
    ------
    ConfigError
        If the pictures come from a folder: the simulator can only describe what it painted.
    """
    if simulation.pictures != "scenes":
        raise ConfigError(
            f"params.yaml: datasets.simulated.simulation.pictures is {simulation.pictures}, and "
            "only painted scenes (scenes) can be described; "
            "name a folder with captions of your pictures, in COCO's form, in fetch_captions.folder"
        )
    seed = simulation.seed
    for split, name in CAPTION_FILES.items():
        annotations = []
        for image_id, coco_id in zip(
            image_ids[splits == split].tolist(), coco_ids[splits == split].tolist(), strict=True
        ):
            texts = caption_scene(
                describe_scene(seed, image_id), np.random.default_rng([seed, image_id, 5])
            )
            annotations += [
                {"image_id": coco_id, "id": N_CAPTIONS * coco_id + number, "caption": text}
                for number, text in enumerate(texts)
            ]
        images = [{"id": coco_id} for coco_id in coco_ids[splits == split].tolist()]
        write_json(
            folder / name,
            {"info": {"description": MARK}, "images": images, "annotations": annotations},
        )
