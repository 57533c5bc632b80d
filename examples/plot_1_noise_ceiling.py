"""
A map of noise ceilings
=======================

Open the voxels of one subject, and look at how much of each voxel's variance any model of the
pictures could explain. Run it in the folder of a finished project, such as the demo's.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from fmri2img.sharing import open_voxels

path = min(Path("data/voxels").glob("*.h5"))
voxels = open_voxels(path)
print(voxels)

# %%
# The ceiling depends on how many repetitions are averaged.
repetitions = voxels.n_repetitions(voxels.shared_image_ids)
ceiling = voxels.noise_ceiling(repetitions)
if not np.isfinite(ceiling).any():
    raise SystemExit(f"{path}: the dataset ships no noise ceilings")
for name in np.unique(voxels.roi_names):
    of_region = ceiling[voxels.roi_names == name]
    print(f"{name:5s} {len(of_region):4d} voxels, median ceiling {np.nanmedian(of_region):4.1f} %")

# %%
# Voxels lie on the grid of the functional volume: put them back, and show some slices.
ijk = voxels.voxel_ijk.astype(int)
volume = np.full(ijk.max(axis=0) + 2, np.nan)
volume[tuple(ijk.T)] = ceiling
slices = np.unique(ijk[:, 2])[:: max(1, len(np.unique(ijk[:, 2])) // 8)][:8]
figure, axes = plt.subplots(2, 4, figsize=(10, 5), layout="constrained")
for axis in axes.flat:
    axis.axis("off")
for axis, k in zip(axes.flat, slices, strict=False):
    shown = axis.imshow(volume[:, :, k].T, origin="lower", vmin=0, vmax=60, cmap="viridis")
    axis.set_title(f"k = {k}", fontsize=9)
figure.colorbar(shown, ax=axes, label="noise ceiling, %", shrink=0.8)
simulated = " (simulated)" if voxels.is_simulated else ""
figure.suptitle(f"{path.stem}{simulated}: what any model of the pictures could explain")
folder = Path("reports/examples")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "noise_ceiling.png", dpi=120)
