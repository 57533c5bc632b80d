import subprocess

import pytest

from fmri2img.project.exceptions import FormatError
from fmri2img.provenance.lineage import changed_params, outs_at, read_lock

LOCK = """schema: '2.0'
stages:
  train@subj01-takagi:
    cmd: python -m stages.train
    deps:
    - path: data/a.h5
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 3
    params:
      params.yaml:
        train.takagi:
          penalties:
          - 1e-06
          - 1e-05
          - 0.1
          - 1
          name: 1e
    outs:
    - path: models/a.h5
      hash: md5
      md5: a2345678123456781234567812345678
      size: 4
"""


def test_small_numbers_are_numbers_as_dvc_writes_them(tmp_path):
    (tmp_path / "dvc.lock").write_text(LOCK)
    stage = read_lock(tmp_path)["train@subj01-takagi"]
    assert stage.params["train.takagi"] == {"penalties": [1e-6, 1e-5, 0.1, 1], "name": "1e"}
    # And no number, whatever its digits.
    assert stage.deps == {"data/a.h5": "0123456789abcdef0123456789abcdef"}
    assert (
        changed_params(
            stage, {"train": {"takagi": {"penalties": [0.000001, 0.00001, 0.1, 1], "name": "1e"}}}
        )
        == []
    )
    assert changed_params(stage, {"train": {"takagi": {"penalties": [1], "name": "1e"}}}) == [
        "train.takagi.penalties was [1e-06, 1e-05, 0.1, 1], is [1]"
    ]


@pytest.mark.functional
def test_a_commit_without_the_lock_has_no_outputs(tmp_path):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", *words],
            cwd=tmp_path,
            check=True,
        )

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "nothing")
    assert outs_at("HEAD", "train@subj01-takagi", tmp_path) == {}
    assert outs_at("no-such-commit", "train@subj01-takagi", tmp_path) == {}
    (tmp_path / "dvc.lock").write_text(LOCK)
    git("add", "dvc.lock")
    git("commit", "-qm", "lock")
    assert outs_at("HEAD", "train@subj01-takagi", tmp_path) == {
        "models/a.h5": "a2345678123456781234567812345678"
    }


@pytest.mark.parametrize(
    "content", [b"stages: []", b"stages:", b"stages: {a: 3}", b"\xff\xfe", b"3"]
)
def test_a_lock_of_another_form_is_one_line(tmp_path, content):
    (tmp_path / "dvc.lock").write_bytes(content)
    with pytest.raises(FormatError, match=r"not a lock file that DVC wrote .*; run: git checkout"):
        read_lock(tmp_path)
