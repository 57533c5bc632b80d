import os

from commands import fmri2img
from fmri2img.project.disk_use import disk_use


def test_each_place_has_what_it_takes_on_the_disk(tmp_path):
    (tmp_path / "models/subj01/ridge").mkdir(parents=True)
    (tmp_path / "models/subj01/ridge/model.safetensors").write_bytes(b"1" * 100_000)
    (tmp_path / ".dvc/cache/files").mkdir(parents=True)
    (tmp_path / ".dvc/cache/files/other").write_bytes(b"2" * 50_000)
    found = {place.title: size for place, size in disk_use(tmp_path)}
    assert found.keys() == {"encoders", "DVC's cache, with earlier results"}
    assert 100_000 <= found["encoders"] <= 110_000


def test_a_file_that_the_cache_shares_counts_once(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / ".dvc/cache").mkdir(parents=True)
    (tmp_path / "models/a").write_bytes(b"1" * 100_000)
    os.link(tmp_path / "models/a", tmp_path / ".dvc/cache/a")
    (((place, _)),) = list(disk_use(tmp_path))
    assert place.title == "encoders"


def test_the_verb_says_what_may_be_cleared(tmp_path):
    (tmp_path / ".checkpoints").mkdir()
    (tmp_path / ".checkpoints/x").write_bytes(b"1" * 20_000_000)
    lines = fmri2img(tmp_path, "disk").stdout.splitlines()
    assert lines[0] == (
        "    0.02 GB  unfinished trainings, extractions, pictures  safe to delete if no "
        "interrupted work is to be resumed"
    )
    assert lines[1].endswith(" GB  free on this disk")
    assert len(lines) == 2
