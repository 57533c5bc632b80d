"""Run the pipeline from an NSD tree to latents at the full design: 40 sessions of 750 trials,
10 000 pictures, small volumes.

``python benchmarks/full_design.py`` simulates the tree once (``--folder``, kept), then points a
fresh project at it with source ``local`` and runs each stage with ``dvc repro --single-item``. It
writes wall time and peak memory of each stage to ``benchmarks/README.md``.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from measuring import (
    SUBJECT,
    make_pictures,
    put_section,
    run_measured,
    simulated_nsd,
    sized,
    table,
)

from fmri2img.datasets.simulation.dataset import SimulatedSubject
from fmri2img.datasets.simulation.stimuli_files import simulate_shared

SIZE = sized(
    {"volume_scale": 0.2, "n_visual_voxels": 400}, {"volume_scale": 0.16, "n_visual_voxels": 70}
)
ROOT = Path(__file__).resolve().parents[1]
SESSIONS = sized("all", [1])
STAGES = (
    ("fingerprint", "what the code means"),
    ("fetch_raw_shared", "hash the pictures (5.4 GB) and tables"),
    (f"fetch_raw@{SUBJECT}", "hash 40 sessions and the anatomy"),
    (f"convert_roi@{SUBJECT}", ""),
    (f"extract_betas@{SUBJECT}", "30 000 trials"),
    (f"create_examples@{SUBJECT}", "10 000 pictures, 425 to 128"),
    (f"split_examples@{SUBJECT}", ""),
    (f"encode_latents@{SUBJECT}", "the demo autoencoder, on the CPU"),
)


def main() -> None:
    """Simulate, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "fmri2img-full-design"
    )
    parser.add_argument("--no-latents", action="store_true", help="stop at the examples")
    options = parser.parse_args()
    tree = simulate(options.folder)
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder), tree)
        rows = []
        for stage, what in STAGES[: -1 if options.no_latents else None]:
            measured = run_measured(
                ["dvc", "repro", "--quiet", "--single-item", stage], cwd=project, env=environment()
            )
            rows.append(
                [
                    f"`{stage.split('@')[0]}`",
                    what,
                    f"{measured.wall:.1f}",
                    f"{measured.peak_mb:.0f}",
                ]
            )
            print(*rows[-1], flush=True)
        size = (project / f"data/examples/{SUBJECT}.h5").stat().st_size
    text = table(["stage", "", "seconds", "peak memory, MB"], rows)
    put_section(
        "full design",
        f"{text}\nPeak memory is that of all processes together, DVC's included. Examples: "
        f"{size / 1e6:.0f} MB.\n",
    )


def simulate(folder: Path) -> Path:
    """Write the tree, unless an earlier run has."""
    tree, done = folder / "nsd", folder / "complete"
    if done.exists():
        return tree
    pictures = make_pictures(folder / "pictures")
    nsd = simulated_nsd(pictures, **SIZE, beta_formats=["hdf5"])
    nsd = nsd.model_copy(update={"sessions": SESSIONS})
    simulate_shared(tree, nsd)
    SimulatedSubject(SUBJECT, nsd, tree).write()
    done.touch()
    return tree


def make_project(folder: Path, tree: Path) -> Path:
    """Copy the project without its data, and point it at the tree."""
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "rois", "models/demo-vae", "reports/ood"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"subjects": [SUBJECT], "population": [SUBJECT]}
    params["models"] = {"latents": ["ridge"], "population": [], "pixels": [], "diffusion": []}
    params["dataset"] = "nsd"
    params["machine"]["raw_root"] = str(tree)
    params["datasets"]["nsd"] |= {"sessions": SESSIONS, "source": "local"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True, env=environment())
    return folder


def environment() -> dict[str, str]:
    """Return the environment in which ``dvc`` and ``python`` are this interpreter's."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }


if __name__ == "__main__":
    main()
