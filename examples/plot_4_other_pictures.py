"""
Score somebody else's reconstructions
=====================================

Any pictures can be scored, named by image id. Here the "reconstructions" are the true pictures,
blurred more and more. What a score is worth can be seen by comparing it with its floors.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter

from fmri2img.containers.true_pictures import TruePictures
from fmri2img.evaluation.network_features import open_networks
from fmri2img.evaluation.picture_folders import evaluate_pictures

path = min(Path("data/truth").glob("*.h5"))
truth = TruePictures.open(path, remedy="fmri2img repro collect_truth")
seen = truth.images[:40]
ids = [str(name) for name in truth.image_ids[:40]]


def blurred(pictures: np.ndarray, pixels: float) -> np.ndarray:
    """Return pictures (n, side, side, 3) behind frosted glass."""
    glass = ImageFilter.GaussianBlur(pixels)
    return np.stack([np.asarray(Image.fromarray(picture).filter(glass)) for picture in pictures])


# %%
# Folders of pictures go the same way: fmri2img evaluate FOLDER data/truth/subj01.h5
radii = (0, 4, 16, 64)
none = open_networks([], None)  # of those that compare features of networks
documents = [
    evaluate_pictures(ids, seen, blurred(seen, radius), none, n_bootstrap=200, n_permutations=99)
    for radius in radii
]
for metric in documents[0]["scores"]:
    values = "  ".join(f"{document['scores'][metric]:6.3f}" for document in documents)
    floor = documents[-1]["floor_grey"].get(metric, float("nan"))
    print(f"{metric:16s} {values}   grey {floor:6.3f}")

# %%
figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
for metric in ("pixcorr", "ssim", "pixel_two_way"):
    axis.plot(radii, [document["scores"][metric] for document in documents], "o-", label=metric)
axis.set(xlabel="blur, pixels (SD)", ylabel="score", xscale="symlog")
axis.legend()
folder = Path("reports/examples")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "other_pictures.png", dpi=120)
