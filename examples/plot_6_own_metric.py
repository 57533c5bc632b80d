"""
A score of your own, with its floor and interval
================================================

Score the project's reconstructions by a measure of your own: here, how well they keep the
difference in brightness between the upper and the lower half. To see a score in every table and
page, declare it (*A metric* in CONTRIBUTING.md).
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from fmri2img.containers.ids import find_rows
from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.pipeline.subject import EncoderData, SubjectData

subject = min(Path("data/reconstructions").iterdir()).name
models = sorted(path.stem for path in Path(f"data/reconstructions/{subject}").glob("*.h5"))
truth = SubjectData(subject).truth()
rng = np.random.default_rng(0)


def sky(pictures: np.ndarray) -> np.ndarray:
    """Return how much brighter the upper half is than the lower, shape (n,); pictures (n, side,
    side, 3), uint8.
    """
    grey = pictures.mean(axis=-1) / 255
    half = grey.shape[1] // 2
    return grey[:, :half].mean(axis=(1, 2)) - grey[:, half:].mean(axis=(1, 2))


# %%
# The score of one image: how far off the reconstruction is. The floor: other images' pictures.
seen = sky(truth.images)
for model in models:
    reconstructions = EncoderData(subject, model).reconstructions()
    tests = reconstructions.rows("test")
    rows = find_rows(reconstructions.image_ids[tests], truth.image_ids, "reconstructions")
    decoded = sky(reconstructions.images[tests][rows])
    error = np.abs(decoded - seen)
    shuffled = np.abs(decoded[:, None] - seen)[~np.eye(len(seen), dtype=bool)].mean()
    ((low, high),) = bootstrap_intervals(error[None], 2000, rng)
    print(
        f"{subject}/{model:8s} error {error.mean():.4f} [{low:.4f}, {high:.4f}], "
        f"other images' {shuffled:.4f}, {len(seen)} test images"
    )

# %%
figure, axis = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
axis.plot(seen, decoded, ".", color="0.2")
limits = np.array([seen.min(), seen.max()])
axis.plot(limits, limits, color="0.7", zorder=0)
axis.set(xlabel="seen: upper minus lower half", ylabel=f"decoded by {model}")
folder = Path("reports/examples")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "own_metric.png", dpi=120)
