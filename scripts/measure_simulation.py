"""Check the simulator's claims (``make ncsnr``): its noise ceilings against the published ones, and
the spectrum of its scenes.

Writes all eight simulated subjects at the demo's size into a temporary folder and reads the betas
back.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data as skimage_data
from sklearn.datasets import load_sample_images

from fmri2img.containers.ncsnr import estimate_ncsnr
from fmri2img.datasets.nsd.betas import read_session_betas
from fmri2img.datasets.nsd.paths import on_disk
from fmri2img.datasets.nsd.rois import read_labels
from fmri2img.datasets.simulation.dataset import SimulatedSubject
from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.datasets.simulation.stimuli_files import simulate_shared
from fmri2img.datasets.simulation.trial_order import shown_images
from fmri2img.datasets.simulation.voxel_responses import PUBLISHED_NCSNR
from fmri2img.project.config import SimulatedNsdParams
from fmri2img.project.params_file import load_params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--photos", type=Path, default=None, help="a folder of JPEGs, to measure their spectrum too"
    )
    parser.add_argument(
        "--n-subjects",
        type=int,
        default=8,
        help="number of simulated subjects, counted from the first",
    )
    parser.add_argument(
        "--n-scenes",
        type=int,
        default=200,
        help="number of pictures; half of them are used for the spectrum",
    )
    parser.add_argument(
        "--volume-scale", type=float, help="size of the volumes; as in params.yaml if left out"
    )
    args = parser.parse_args()
    print_spectra(args.photos, args.n_scenes // 2)
    print_ceilings(args.n_subjects, args.n_scenes, args.volume_scale)


def print_spectra(photos: Path | None, n_scenes: int) -> None:
    """Print the slope of log power over log spatial frequency, of scenes of 320 x 320 and of
    photographs.
    """
    sets = {
        "scenes": [render_image(7, image_id, 320) for image_id in range(n_scenes)],
        "library photographs": [
            skimage_data.astronaut(),
            skimage_data.coffee(),
            skimage_data.chelsea(),
            *load_sample_images().images,
        ],
    }
    if photos is not None:
        sets["folder photographs"] = [
            np.asarray(Image.open(path).convert("RGB"))
            for path in sorted(photos.rglob("*.jpg"))[:100]
        ]
    for name, pictures in sets.items():
        cut = [
            picture[:, :, :3].mean(-1)[: min(picture.shape[:2]), : min(picture.shape[:2])]
            for picture in pictures
        ]
        slopes = [power_slope(grey) for grey in cut]
        print(
            f"{name:22s} power ~ f^{np.mean(slopes):.2f}  (SD over {len(slopes)} pictures "
            f"{np.std(slopes):.2f})",
            flush=True,
        )


def power_slope(grey: np.ndarray) -> float:
    """Return the slope of log power over log frequency, from 4 cycles a picture to a third of
    its width.
    """
    side = len(grey)
    window = np.hanning(side)
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window[:, None] * window)) ** 2
    frequency = np.fft.fftfreq(side) * side
    radius = np.hypot(frequency[:, None], frequency).round().astype(int).ravel()
    radial = np.bincount(radius, power.ravel()) / np.bincount(radius)
    used = np.arange(4, side // 3)
    return float(np.polyfit(np.log(used), np.log(radial[used]), 1)[0])


def print_ceilings(n_subjects: int, n_scenes: int, volume_scale: float | None) -> None:
    """Print the median ncsnr inside the visual ROI, recomputed from the written betas, beside
    the published one.
    """
    nsd = SimulatedNsdParams.model_validate(load_params().datasets["simulated"])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subjects = [f"subj{number:02d}" for number in range(1, n_subjects + 1)]
        # Noise ceilings do not depend on what is shown: cropping 200 small scenes is faster than
        # painting 11 000.
        pictures = root / "pictures"
        pictures.mkdir()
        for image_id in range(n_scenes):
            Image.fromarray(render_image(7, image_id, 170)).save(pictures / f"{image_id:03d}.png")
        size = {} if volume_scale is None else {"volume_scale": volume_scale}
        simulation = nsd.simulation.model_copy(
            update={"pictures": str(pictures), "beta_formats": ["hdf5"], **size}
        )
        # With fewer sessions too few images have three repetitions to estimate from.
        nsd = nsd.model_copy(update={"sessions": [1, 2, 3], "simulation": simulation})
        simulate_shared(root, nsd)
        heads = "".join(
            f"{head:>12s}" for head in ("published", "visual ROI", "difference", "nsdgeneral")
        )
        print(f"{'subject':10s}{heads}{'voxels':>8s}", flush=True)
        for subject, published in zip(subjects, PUBLISHED_NCSNR, strict=False):
            simulated = SimulatedSubject(subject, nsd, root)
            simulated.write()
            medians = {
                roi: median_ncsnr(simulated, roi) for roi in ("prf-visualrois", "nsdgeneral")
            }
            median, n_voxels = medians["prf-visualrois"]
            cells = f"{published:12.3f}{median:12.3f}{median - published:+12.3f}"
            general = medians["nsdgeneral"][0]
            print(f"{subject:10s}{cells}{general:12.3f}{n_voxels:8d}", flush=True)


def median_ncsnr(simulated: SimulatedSubject, roi: str) -> tuple[float, int]:
    """Return the median ncsnr of a region's voxels and their number, from the betas files and the
    published definition.
    """
    labels, _ = read_labels(on_disk(simulated.root, simulated.files.func_roi(roi)), remedy="")
    mask = labels > 0
    paths = [
        on_disk(simulated.root, simulated.files.betas("b3", session, "hdf5"))
        for session in simulated.sessions
    ]
    betas = np.concatenate([read_session_betas(path, mask, remedy="") for path in paths])
    image_ids = shown_images(simulated.design.experiment, simulated.number, simulated.sessions)
    found = estimate_ncsnr(betas, np.repeat(simulated.sessions, 750), image_ids, n_repetitions=3)
    return float(np.nanmedian(found)), int(mask.sum())


if __name__ == "__main__":
    main()
