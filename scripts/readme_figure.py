"""Make the pictures at the top of the README: one simulated subject with all forty sessions of NSD,
on a small grid, decoded by one encoder. SIMULATED DATA.

    python scripts/readme_figure.py --work FOLDER

It takes about twenty minutes on two cores, and goes on where it stopped.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import yaml

from fmri2img.containers.ids import find_rows
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.generation.decode import resize_pictures

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/images/reconstructions.png"
SUBJECT, MODEL = "subj01", "bayes"
N_SHOWN, SEED = 8, 0
SIMULATION = {"volume_scale": 0.5, "n_visual_voxels": 2600, "beta_formats": ["hdf5"]}


def main() -> None:
    """Run the pipeline in a clone, and draw test images that were chosen at random."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the project, 14 GB")
    parser.add_argument("--sessions", default="all", help="fewer of them, such as 1,2")
    options = parser.parse_args()
    project = options.work.resolve() / "project"
    if not project.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
        set_params(project / "params.yaml", options.sessions)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["fmri2img", "repro", f"predict@{SUBJECT}-{MODEL}", f"collect_truth@{SUBJECT}"],
        cwd=project,
        env=os.environ | {"PATH": path},
        check=True,
    )
    draw(project)
    print(PICTURE.relative_to(ROOT))


def set_params(path: Path, sessions: str) -> None:
    """Write down one subject, with a small grid."""
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["subjects"] = params["population"] = [SUBJECT]
    simulated = params["datasets"]["simulated"]
    simulated["sessions"] = sessions if sessions == "all" else [*map(int, sessions.split(","))]
    simulated["simulation"] |= SIMULATION
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def draw(project: Path) -> None:
    """Draw what was seen above what was decoded."""
    truth = TruePictures.open(project / f"data/truth/{SUBJECT}.h5", remedy="")
    decoded = Reconstructions.open(
        project / f"data/reconstructions/{SUBJECT}/{MODEL}.h5", remedy=""
    )
    tests = decoded.rows("test")
    chosen = np.sort(np.random.default_rng(SEED).choice(len(truth.images), N_SHOWN, replace=False))
    rows = find_rows(decoded.image_ids[tests], truth.image_ids[chosen], "reconstructions")
    pictures = decoded.images[tests][rows]
    seen = resize_pictures(truth.images[chosen], pictures.shape[1])
    figure, axes = plt.subplots(2, N_SHOWN, figsize=(10, 2.7), layout="constrained")
    for row, (title, shown) in enumerate((("seen", seen), ("decoded", pictures))):
        for axis, picture in zip(axes[row], shown, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        axes[row, 0].set_ylabel(title, fontsize=13)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
