"""The release command, in a repository of its own, and the lists of packages."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))
import list_packages
import release

pytestmark = pytest.mark.functional


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """What a release touches, committed."""
    (tmp_path / "src/fmri2img/project").mkdir(parents=True)
    for name in (
        "pyproject.toml",
        "src/fmri2img/project/version.py",
        "CITATION.cff",
        "constraints.txt",
    ):
        (tmp_path / name).write_text((REPOSITORY / name).read_text(encoding="utf-8"))
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n- New.\n\n## 0.1\n\n- Old.\n"
    )
    for folder in ("docs", "scripts"):
        (tmp_path / folder).mkdir()
    for name in ("docs/licences.md", "sbom.cdx.json"):
        (tmp_path / name).touch()
    script = REPOSITORY / "scripts/list_packages.py"
    (tmp_path / "scripts/list_packages.py").write_text(script.read_text(encoding="utf-8"))
    for words in (
        ("init", "-q"),
        ("config", "user.name", "x"),
        ("config", "user.email", "x@localhost"),
        ("add", "-A"),
        ("commit", "-qm", "before"),
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    return tmp_path


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {path: path.read_bytes() for path in files}


def test_a_release_names_its_version_everywhere_and_is_tagged(repository):
    release.release("9.1.0", [], repository)
    assert 'version = "9.1.0"' in (repository / "pyproject.toml").read_text()
    assert 'VERSION = "9.1.0"' in (repository / "src/fmri2img/project/version.py").read_text()
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["version"] == "9.1.0"
    assert str(citation["date-released"]) in (repository / "CHANGELOG.md").read_text()
    changes = (repository / "CHANGELOG.md").read_text()
    assert re.search(r"## Unreleased\n\n## 9\.1\.0 \(.{10}\)\n\n- New\.\n\n## 0\.1", changes)
    assert "aiohttp" in (repository / "sbom.cdx.json").read_text()
    assert release.git("tag", "--list") == "v9.1.0\n"
    assert release.git("status", "--porcelain") == ""
    with pytest.raises(release.ReleaseError, match=r"got 9\.1\.0, expected one after 9\.1\.0"):
        release.release("9.1.0", [], repository)
    with pytest.raises(release.ReleaseError, match="nothing under Unreleased; say what"):
        release.release("9.2.0", [], repository)


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("0.0.1", "got 0.0.1, expected one after"),
        ("9.1", "got '9.1', expected three numbers"),
        ("9.1.0rc1", "got '9.1.0rc1', expected three numbers"),
    ],
)
def test_what_is_no_later_version(repository, version, line):
    with pytest.raises(release.ReleaseError, match=line):
        release.release(version, [], repository)


def test_an_uncommitted_change(repository):
    (repository / "new.txt").touch()
    with pytest.raises(release.ReleaseError, match=r"1 files differ .* first new\.txt; commit or"):
        release.release("9.1.0", [], repository)


def test_a_step_that_fails_leaves_the_files_as_they_were(repository):
    before = content(repository)
    with pytest.raises(release.ReleaseError, match="check_packages"):
        release.release("9.1.0", ["python3.11"], repository)  # there is no such script here
    after = content(repository)
    assert {path: after[path] for path in before} == before
    assert release.git("tag", "--list") == ""


def test_the_lists_of_packages_are_of_todays_pins():
    pins = list_packages._PIN.findall((REPOSITORY / "constraints.txt").read_text("utf-8"))
    document = json.loads((REPOSITORY / "sbom.cdx.json").read_text("utf-8"))
    listed = [(one["name"], one["version"]) for one in document["components"]]
    assert listed == pins
    assert all(one["licenses"][0]["license"]["name"] for one in document["components"])
    page = (REPOSITORY / "docs/licences.md").read_text("utf-8")
    assert all(f"{name} {version}" in page for name, version in pins)
