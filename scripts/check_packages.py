"""Build the source distribution and the wheel, install each in a fresh environment of every Python
that is named, and use it outside of the checkout on the files of a finished project.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["python3.11", "python3.12", "python3.13"]


def main() -> None:
    """Build, install, use, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="*", default=PYTHONS, metavar="PYTHON")
    parser.add_argument(
        "--project", type=Path, default=ROOT, help="a finished project; this one if left out"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packages = build(folder)
        for python in options.pythons:
            for package in packages:
                bin_folder, seconds = install(python, package, folder)
                print(f"{python}: {package.name} installed in {seconds:.0f} s", flush=True)
                for line in use(bin_folder, options.project.resolve()):
                    print(f"  {line}", flush=True)


def build(folder: Path) -> list[Path]:
    """Build both packages in an environment of their own; returns their paths."""
    run([sys.executable, "-m", "venv", str(folder / "build")], folder)
    python = str(folder / "build/bin/python")
    run([python, "-m", "pip", "install", "--quiet", "build"], folder)
    run([python, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT)], folder)
    return sorted((folder / "dist").iterdir())


def install(python: str, package: Path, folder: Path) -> tuple[Path, float]:
    """Install a package with the pinned versions in a new environment; returns the folder of its
    commands, and seconds.
    """
    start = time.perf_counter()
    environment = folder / "environment"
    run([python, "-m", "venv", "--clear", str(environment)], folder)
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", *constraints]
    run([*pip, str(package)], folder)
    return environment / "bin", time.perf_counter() - start


def use(bin_folder: Path, project: Path) -> list[str]:
    """Look at voxels, decode and evaluate in an empty folder; returns a line for each command.

    Parameters
    ----------
    bin_folder : Path
        Where ``fmri2img`` is.
    project : Path
        A finished project, whose files are read.
    """
    subject = min((project / "models").glob("*/ridge")).parent.name
    voxels, truth = (str(project / f"data/{name}/{subject}.h5") for name in ("voxels", "truth"))
    model, autoencoder = str(project / f"models/{subject}/ridge"), str(project / "models/demo-vae")
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for words in (
            ["--version"],
            ["voxels", voxels],
            ["export", voxels, "--to", "betas.npz"],
            ["decode", "betas.npz", "--model", model, "--autoencoder", autoencoder, "--to", "out"],
            ["evaluate", "out", truth, "--subset"],
        ):
            start = time.perf_counter()
            told = run([str(bin_folder / "fmri2img"), *words], Path(folder)).splitlines()
            seconds = time.perf_counter() - start
            lines.append(f"fmri2img {words[0]}: {seconds:.1f} s; {told[-1] if told else ''}")
    return lines


def run(command: list[str], folder: Path) -> str:
    """Run a command, and stop with what it said if it fails; returns its standard output."""
    # With it, pip would take the sources for a package that is installed already.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"error: {' '.join(command)}: {result.stderr.strip()[-2000:]}")
    return result.stdout


if __name__ == "__main__":
    main()
