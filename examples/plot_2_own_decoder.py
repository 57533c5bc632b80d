"""
Your own decoder, scored like ours
==================================

Fit any regression from scikit-learn to the shared voxels, decode the latents that it predicts with
the frozen autoencoder, and score the pictures beside their floors. The split keeps test images out
of everything that is fitted.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fmri2img.containers.latents import Latents
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.evaluation.network_features import open_networks
from fmri2img.evaluation.picture_folders import evaluate_pictures
from fmri2img.generation.decode import decode_latents, resize_pictures
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.sharing import open_voxels

subject = min(Path("data/voxels").glob("*.h5")).stem
voxels = open_voxels(f"data/voxels/{subject}.h5")
latents = Latents.open(Path(f"data/latents/{subject}.h5"), remedy="fmri2img repro encode_latents")

# %%
# Averages over repetitions, and the latents of the same images.
train, test = (voxels.images_of(f"data/splits/{subject}.json", part) for part in ("train", "test"))
train_betas, test_betas = (np.nan_to_num(voxels.average(ids)) for ids in (train, test))
train_latents = latents.only(train).values.reshape(len(train), -1)

# %%
# Any estimator will do. This one chooses its penalty on training images alone.
decoder = make_pipeline(StandardScaler(), RidgeCV(np.logspace(2, 6, 9)))
decoder.fit(train_betas, train_latents)
predicted = decoder.predict(test_betas).reshape(len(test), *latents.values.shape[1:])

# %%
# Pictures, and scores beside a floor: the same predictions shuffled.
about = latents.provenance["autoencoder"]
revision = "main" if about["revision"] == "folder" else about["revision"]
autoencoder = load_autoencoder(about["name"], revision)
pictures = decode_latents(predicted.astype(np.float32), autoencoder, batch_size=16)
truth = TruePictures.open(Path(f"data/truth/{subject}.h5"), remedy="fmri2img repro collect_truth")
seen = truth.of(test)
none = open_networks([], None)  # of those that compare features of networks
document = evaluate_pictures([str(name) for name in test], seen, pictures, none, n_permutations=199)
for metric, value in document["scores"].items():
    floor = document["floor_shuffled"].get(metric)
    print(f"{metric:16s} {value:6.3f}   shuffled {floor if floor is None else round(floor, 3)}")
if voxels.is_simulated:
    print("SIMULATED DATA: not results about real brains")

# %%
n_shown = min(6, len(test))
figure, axes = plt.subplots(2, n_shown, figsize=(9, 3.2), layout="constrained")
small = resize_pictures(seen[:n_shown], pictures.shape[1])
for row, (title, shown) in enumerate((("seen", small), ("decoded", pictures[:n_shown]))):
    for axis, picture in zip(axes[row], shown, strict=True):
        axis.imshow(picture)
        axis.set_xticks([])
        axis.set_yticks([])
    axes[row, 0].set_ylabel(title)
folder = Path("reports/examples")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "own_decoder.png", dpi=120)
