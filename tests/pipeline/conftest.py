import shutil

import pytest
import yaml

from conftest import REPOSITORY
from pipeline.projects import run


@pytest.fixture(scope="session")
def project(tmp_path_factory, picture_folder):
    """A project with one subject, one session and small settings, run once from nothing."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "data").mkdir()
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "data/.gitignore"):
        shutil.copy(REPOSITORY / name, folder / name)
    for name in ("src", "rois", "models/demo-vae"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["subjects"] = ["subj02"]
    params["nsd"]["sessions"] = [21]
    params["fetch_nsd"]["simulation"] |= {"volume_scale": 0.2, "n_visual_voxels": 150, "pictures": str(picture_folder)}
    params["models"] = ["ridge", "basic_ae"]
    params["train"]["basic_ae"] |= {"hidden_sizes": [64], "epochs": 3}
    params["evaluate"] |= {"n_permutations": 99, "n_bootstrap": 100}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    shutil.copytree(REPOSITORY / ".dvc/plots", folder / ".dvc/plots")
    result = run(folder, "dvc", "repro", check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    for command in (("add", "-A"), ("-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "run")):
        run(folder, "git", *command)
    return folder
