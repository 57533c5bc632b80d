"""The pictures of the population, a file for each subject."""

import shutil

import numpy as np

from conftest import REPOSITORY
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.pipeline.subject import open_prior
from stages.collect_prior import main


def test_files_of_subjects_that_left_go_and_unfinished_ones_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    values = np.arange(4 * 16, dtype=np.float32).reshape(4, 4, 2, 2)
    about = {"autoencoder": {"name": "vae", "sha256": "abc"}, "data_source": "nsd"}
    for subject, test in (("subj01", 3), ("subj02", 4)):
        ids = np.array([1, 2, 3, 4])
        Latents(ids, values, values[:, :2], about).save(tmp_path / f"data/latents/{subject}.h5")
        split = Split("shared", (1, 2), (7 - test,), (test,))
        split.save(tmp_path / f"data/splits/{subject}.json")
    folder = tmp_path / "data/prior"
    folder.mkdir()
    for name in ("subj05.h5", ".partial-17-subj02.h5"):  # the latter is another stage's
        (folder / name).touch()
    for subject in ("subj01", "subj02"):
        main(subject)
    assert {path.name for path in folder.iterdir()} == {
        "subj01.h5",
        "subj02.h5",
        ".partial-17-subj02.h5",
    }
    assert Latents.open(folder / "subj01.h5", remedy="").image_ids.tolist() == [1, 2, 4]
    # 4 is a test image of the other subject.
    assert open_prior(["subj01", "subj02"]).image_ids.tolist() == [1, 2]
    assert open_prior(["subj01"]).image_ids.tolist() == [1, 2, 4]
