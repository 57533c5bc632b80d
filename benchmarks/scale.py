"""Run a project of eight subjects and five models on tiny data, and measure what a user waits for:
a run that finds nothing to do, ``why``, ``list``, the plans of ``share`` and ``pull``, and one more
subject.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import yaml
from measuring import put_section, sized, table
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SUBJECTS = [f"person{number}" for number in range(1, sized(8, 2) + 1)]
MODELS = {
    "latents": sized(["ridge", "bayes", "basic_ae", "low_level"], ["ridge"]),
    "population": [],
    "pixels": sized(["upscaling_ae"], []),
    "diffusion": [],
}
N_IMAGES, N_TEST, N_VOXELS, SIDE = 40, 8, 24, 48
SMALL = {
    "basic_ae": {"hidden_sizes": [64], "epochs": 2, "n_seeds": 1},
    "low_level": {"hidden_size": 64, "n_blocks": 1, "channels": 16, "epochs": 2, "n_seeds": 1},
    "upscaling_ae": {"hidden_sizes": [64], "epochs": 2},
    "bayes": {"window_sizes": [1.0], "n_folds": 2, "noise_scales": [0.5, 1.0]},
}
# Each with the seconds that it may take at the full size.
COMMANDS = {
    "`dvc repro`, nothing to do": (["dvc", "repro"], 10),
    "`fmri2img repro`, nothing to do": (["fmri2img", "repro"], 10),
    "`fmri2img why`": (["fmri2img", "why"], 5),
    "`fmri2img list`": (["fmri2img", "list"], 3),
    "plan of `fmri2img share`": (["fmri2img", "share", "--dry-run"], 10),
    "plan of `fmri2img pull`": (["fmri2img", "pull", "--dry-run"], 10),
}
# "[3/40] 0:05, about 0:30 left  train@person1-ridge: 2 s"
_ENDED = re.compile(r"\[ *\d+/\d+\].*  (\S+): \d+ s")


def main() -> None:
    """Make the project, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the project there")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        project = make_project(folder / "project", SUBJECTS)
        put_section("scale", "\n".join(measure(project)))


def make_project(folder: Path, subjects: list[str]) -> Path:
    """Copy the project without its results, with a dataset of small pictures and few voxels."""
    folder.mkdir(parents=True)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data/.gitignore", folder / "data")
    for name in ("src", "rois", "models/demo-vae", "reports/ood"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"dataset": "folder", "subjects": subjects, "models": MODELS}
    if "population" in params:
        params["population"] = subjects[:2]
    params["machine"]["raw_root"] = "data/raw"
    params["convert_roi"] |= {"roi": "visual", "drawn_in": "func"}
    params["split_examples"]["validation_fraction"] = 0.2
    params["evaluate"] |= {"networks": [], "n_permutations": 99, "n_bootstrap": 100}
    for model, changes in SMALL.items():
        params["train"][model] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    # One person more than the project has: to be added later.
    write_experiment(folder / "data/raw", [*subjects, "another"])
    remote = str(folder.with_name("remote"))
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["dvc", "remote", "add", "--local", "--default", "lab", remote],
    ):
        run(folder, command)
    return folder


def write_experiment(root: Path, people: list[str]) -> None:
    """Write an experiment in a folder: pictures of one colour with a grain, and people whose voxels
    see the colour.
    """
    rng = np.random.default_rng(5)
    (root / "pictures").mkdir(parents=True)
    declared = {
        "title": "Colours",
        "subjects": people,
        "unit": "z-score",
        "voxel_mm": 2.0,
        "picture_side": SIDE,
        "n_repetitions": 4,
        "ids": "texts",
        "missing": "refused",
        "terms": "",
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump(declared))
    colours = rng.integers(20, 236, (N_IMAGES, 3))
    ids = [f"cup-{number:02d}" for number in range(N_IMAGES)]
    for name, colour in zip(ids, colours, strict=True):
        picture = (colour + rng.integers(-20, 20, (SIDE, SIDE, 3))).astype(np.uint8)
        Image.fromarray(picture).save(root / f"pictures/{name}.png")
    is_test = np.arange(N_IMAGES) < N_TEST
    files = [f"{name}.png" for name in ids]
    pictures = pd.DataFrame({"image_id": ids, "file": files, "is_test": is_test.astype(int)})
    pictures.to_csv(root / "pictures.csv", index=False)
    for person in people:
        write_person(root / person, ids, colours, is_test, rng)


def write_person(
    folder: Path, ids: list[str], colours: np.ndarray, is_test: np.ndarray, rng: np.random.Generator
) -> None:
    """Write one person's trials, voxels and betas."""
    folder.mkdir()
    shown = np.concatenate(
        [rng.permutation(np.repeat(np.arange(N_IMAGES), 1 + is_test)) for _ in range(2)]
    )
    half = len(shown) // 2
    trials = pd.DataFrame(
        {
            "session": np.repeat([1, 2], half),
            "run": 1,
            "trial": np.tile(np.arange(1, half + 1), 2),
            "image_id": np.array(ids)[shown],
        }
    )
    trials.to_csv(folder / "trials.csv", index=False)
    position = np.stack(np.unravel_index(np.arange(N_VOXELS), (2, 3, 4)), axis=1)
    voxels = pd.DataFrame(position, columns=["i", "j", "k"])
    voxels["visual"] = ["V1"] * 16 + ["V4"] * 8
    voxels.to_csv(folder / "voxels.csv", index=False)
    signal = (colours / 128 - 1)[shown] @ rng.normal(size=(3, N_VOXELS))
    betas = signal + 0.3 * rng.normal(size=signal.shape)
    np.save(folder / "betas.npy", betas.astype(np.float32))


def measure(project: Path) -> list[str]:
    """Run the project, time the commands on it, and add one subject; returns lines of Markdown."""
    n_models = sum(map(len, MODELS.values()))
    seconds, _ = timed(project, ["fmri2img", "repro"])
    n_stages = len(yaml.safe_load((project / "dvc.lock").read_text())["stages"])
    rows = [["the whole run", f"{seconds:.0f} s", ""]]
    for name, (command, limit) in COMMANDS.items():
        rows.append([name, f"{timed(project, command)[0]:.1f} s", f"{limit} s"])
    size = (project / "dvc.lock").stat().st_size / 1e3
    rows.append(["`dvc.lock`", f"{size:.0f} kB", "400 kB"])
    edit_subjects(project, [*SUBJECTS, "another"])
    seconds, others = stages_run(project)
    rows.append([f"one more subject (others: {', '.join(others)})", f"{seconds:.0f} s", ""])
    timed(project, ["fmri2img", "remove", "another"])
    seconds, others = stages_run(project)
    rows.append([f"removed again (others: {', '.join(others)})", f"{seconds:.0f} s", ""])
    return [
        f"{len(SUBJECTS)} subjects, {n_models} models, {n_stages} stages; {N_VOXELS} voxels and "
        f"{N_IMAGES} pictures of {SIDE} x {SIDE}. *Goal* is the limit for 8 subjects and 5 models.",
        "",
        table(["command", "time or size", "goal"], rows),
    ]


def edit_subjects(project: Path, subjects: list[str]) -> None:
    """Set the list of subjects."""
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(params | {"subjects": subjects}, sort_keys=False))


def stages_run(project: Path) -> tuple[float, list[str]]:
    """Bring the project up to date; returns seconds and the stages of anybody but the new one."""
    seconds, told = timed(project, ["fmri2img", "repro"])
    ended = [match.group(1) for line in told if (match := _ENDED.fullmatch(line))]
    return seconds, [name for name in ended if "another" not in name]


def timed(project: Path, command: list[str]) -> tuple[float, list[str]]:
    """Run a command; returns seconds, and the lines that it printed on either stream."""
    start = time.perf_counter()
    result = run(project, command)
    return time.perf_counter() - start, result.splitlines()


def run(project: Path, command: list[str]) -> str:
    """Run a command, and stop with what it said if it fails."""
    result = subprocess.run(
        command,
        cwd=project,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{' '.join(command)}: {result.stdout[-2000:]}")
    return result.stdout


def environment() -> dict[str, str]:
    """Return the environment in which ``dvc`` and ``python`` are this interpreter's."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "PYTHONPATH": os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")]),
    }


if __name__ == "__main__":
    main()
