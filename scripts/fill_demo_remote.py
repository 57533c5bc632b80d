"""Put voxels and regions of the simulated subjects into the small remote that git holds (``make
demo-remote``).
"""

import shutil
import subprocess
import sys
from pathlib import Path

from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.project.layout import voxels_path
from fmri2img.provenance.lineage import read_lock
from fmri2img.sharing.remotes import data_source_of

LIMIT_BYTES = 8e6
REMOTE, FRESH = Path("demo_remote"), Path("demo_remote.new")


def main() -> None:
    """Refuse data that are not simulated, push into an empty folder, and only then replace the old
    remote with it.
    """
    subjects = [name.split("@")[1] for name in read_lock() if name.startswith("extract_betas@")]
    sources = {
        TrialBetas.open(voxels_path(subject), remedy="dvc repro").provenance["data_source"]
        for subject in subjects
    }
    if data_source_of() != "simulated" or sources != {"simulated"}:
        sys.exit(
            "error: these voxels are not simulated; components of NSD may not go into the "
            "repository"
        )
    shutil.rmtree(FRESH, ignore_errors=True)
    for command in (
        ["dvc", "remote", "add", "--local", "--force", "demo-new", str(FRESH)],
        ["dvc", "push", "--remote", "demo-new", "extract_betas", "convert_roi"],
        ["dvc", "remote", "remove", "--local", "demo-new"],
    ):
        subprocess.run(command, check=True)
    if (
        size := sum(path.stat().st_size for path in FRESH.rglob("*") if path.is_file())
    ) > LIMIT_BYTES:
        sys.exit(
            f"error: {FRESH} has {size / 1e6:.1f} MB, expected at most {LIMIT_BYTES / 1e6:.0f}; "
            "extract fewer sessions or voxels"
        )
    shutil.rmtree(REMOTE, ignore_errors=True)
    FRESH.rename(REMOTE)
    subprocess.run(["git", "add", "--force", "--all", str(REMOTE)], check=True)


if __name__ == "__main__":
    main()
