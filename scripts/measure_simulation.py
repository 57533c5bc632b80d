"""Check the simulator's claims (``make ncsnr``): the spectrum of its scenes, the statistics of its
design and of its betas against those of real files, and its noise ceilings against the published
ones.

Writes simulated subjects at the demo's size into a temporary folder and reads the betas back.
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
from fmri2img.datasets.nsd.design import UNITS
from fmri2img.datasets.nsd.paths import on_disk
from fmri2img.datasets.nsd.rois import read_labels
from fmri2img.datasets.simulation.dataset import SimulatedSubject
from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.datasets.simulation.stimuli_files import simulate_shared
from fmri2img.datasets.simulation.trial_order import draw_design, shown_images
from fmri2img.datasets.simulation.voxel_responses import PUBLISHED_NCSNR
from fmri2img.project.nsd_params import SimulatedNsdParams
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
    parser.add_argument(
        "--n-sessions",
        type=int,
        default=10,
        help="sessions of the subject whose betas are measured",
    )
    args = parser.parse_args()
    print_spectra(args.photos, args.n_scenes // 2)
    print_design()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = _settings(root, args.n_scenes, args.volume_scale)
        print_betas(root / "betas", settings, args.n_sessions)
        print_ceilings(root / "ceilings", settings, args.n_subjects, args.n_sessions)


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


def print_design() -> None:
    """Print what is known of the real design beside the simulated one."""
    design = draw_design(7)
    runs = design.stimulus_slots.reshape(-1, design.stimulus_slots.shape[-1]).astype(int)
    stretches = [len(part) for run in runs for part in "".join(map(str, run)).split("0") if part]
    order = design.experiment.master_order
    counts = np.mean(
        [
            np.bincount(np.unique(shown, return_counts=True)[1], minlength=4)[1:4]
            for shown in order.reshape(-1, 750)
        ],
        axis=0,
    )
    distinct = {n: len(np.unique(order[: 750 * n])) for n in (27, 29, 37)}
    print(f"{'':58s}{'real':>22s}{'simulated':>22s}")
    rows = {
        "unbroken stretches of 8 trials, of 2880": ("81", str(stretches.count(8))),
        "images shown once, twice, three times in a session": (
            "436.7 105.6 34.0",
            " ".join(f"{count:.1f}" for count in counts),
        ),
        "distinct images after 27, 29, 37 sessions": (
            "8779 9082 9841",
            " ".join(map(str, distinct.values())),
        ),
    }
    _print_rows(rows)


def print_betas(root: Path, settings: SimulatedNsdParams, n_sessions: int) -> None:
    """Print what is known of real betas (subj01, prf-visualrois, b3) beside the simulated ones."""
    settings = settings.model_copy(update={"sessions": list(range(1, n_sessions + 1))})
    simulate_shared(root, settings)
    simulated = SimulatedSubject("subj01", settings, root)
    simulated.write()
    labels, _ = read_labels(on_disk(root, simulated.files.func_roi("prf-visualrois")), remedy="")
    mask = labels > 0
    sessions = [
        read_session_betas(
            on_disk(root, simulated.files.betas("b3", session, "hdf5")), mask, remedy=""
        )
        for session in simulated.sessions
    ]
    image_ids = shown_images(simulated.design.experiment, 1, simulated.sessions)
    ncsnr = estimate_ncsnr(
        np.concatenate(sessions),
        np.repeat(simulated.sessions, 750),
        image_ids,
        n_repetitions=3,
    )
    percent = [betas / UNITS.per_unit for betas in sessions]
    spread = np.median([betas.std(axis=0) for betas in percent], axis=0)
    varied = spread > 0.1  # without the dead ones
    scored = [
        (betas - betas.mean(axis=0))[:, varied] / betas.std(axis=0)[varied] for betas in percent
    ]
    inside = labels[mask]
    v1, hv4, v1v = ncsnr[np.isin(inside, (1, 2))], ncsnr[inside == 7], ncsnr[inside == 1]
    rows = {
        "SD within voxel and session, %": ("1.06 to 1.26", f"{np.median(spread):.2f}"),
        "mean beta, %": (
            "1.4 to 1.8",
            f"{np.median(np.mean([betas.mean(axis=0) for betas in percent], axis=0)):.2f}",
        ),
        "median ncsnr in V1, in hV4": (
            "0.55 0.35",
            f"{np.nanmedian(v1):.2f} {np.nanmedian(hv4):.2f}",
        ),
        "SD over voxels of log ncsnr, V1v": ("0.48", f"{np.log(v1v[v1v > 0.02]).std():.2f}"),
        "largest ncsnr": ("1.42 (loose mask)", f"{np.nanmax(ncsnr):.2f}"),
        "voxels of ncsnr 0, %": (
            "0.5 (40 sessions)",
            f"{100 * np.mean(ncsnr == 0):.1f} ({n_sessions} sessions)",
        ),
        "correlation of successive trials": (
            "present",
            f"{np.mean([np.mean(betas[1:] * betas[:-1]) for betas in scored]):.2f}",
        ),
        "kurtosis (3 if Gaussian)": (
            "present",
            f"{np.median([np.mean(betas**4, axis=0) for betas in scored]):.1f}",
        ),
    }
    _print_rows(rows)


def _print_rows(rows: dict[str, tuple[str, str]]) -> None:
    for title, (real, simulated) in rows.items():
        print(f"{title:58s}{real:>22s}{simulated:>22s}", flush=True)


def _settings(root: Path, n_scenes: int, volume_scale: float | None) -> SimulatedNsdParams:
    """Return the demo's settings with crops of small scenes: responses do not depend much on what
    is shown, and painting 11 000 scenes would take longer.
    """
    nsd = SimulatedNsdParams.model_validate(load_params().datasets["simulated"])
    pictures = root / "pictures"
    pictures.mkdir()
    for image_id in range(n_scenes):
        Image.fromarray(render_image(7, image_id, 170)).save(pictures / f"{image_id:03d}.png")
    size: dict[str, float] = {}
    if volume_scale is not None:  # a smaller brain has fewer voxels
        share = (volume_scale / nsd.simulation.volume_scale) ** 3
        n_voxels = round(share * nsd.simulation.n_visual_voxels)
        size = {"volume_scale": volume_scale, "n_visual_voxels": n_voxels}
    simulation = nsd.simulation.model_copy(
        update={"pictures": str(pictures), "beta_formats": ["hdf5"], **size}
    )
    return nsd.model_copy(update={"simulation": simulation})


def print_ceilings(
    root: Path, settings: SimulatedNsdParams, n_subjects: int, n_sessions: int
) -> None:
    """Print the median ncsnr inside nsdgeneral and in the visual ROI, recomputed from the written
    betas, beside the published one.
    """
    # With fewer sessions, too few images have three repetitions, and estimates are too high.
    settings = settings.model_copy(update={"sessions": list(range(1, n_sessions + 1))})
    simulate_shared(root, settings)
    heads = "".join(
        f"{head:>12s}" for head in ("published", "nsdgeneral", "difference", "visual ROI")
    )
    print(f"{'subject':10s}{heads}{'voxels':>8s}", flush=True)
    for number, published in enumerate(PUBLISHED_NCSNR[:n_subjects], start=1):
        simulated = SimulatedSubject(f"subj{number:02d}", settings, root)
        simulated.write()
        median, n_voxels = median_ncsnr(simulated, "nsdgeneral")
        cells = f"{published:12.3f}{median:12.3f}{median - published:+12.3f}"
        visual = median_ncsnr(simulated, "prf-visualrois")[0]
        print(f"{simulated.subject:10s}{cells}{visual:12.3f}{n_voxels:8d}", flush=True)


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
