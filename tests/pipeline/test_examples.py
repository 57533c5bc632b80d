"""The documentation site: built whole without a warning, with every example run in a finished
project.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import unescape

import matplotlib.pyplot as plt
import numpy as np
import pytest

from conftest import REPOSITORY
from fmri2img.containers.splits import Split
from fmri2img.containers.trial_betas import TrialBetas
from miniature import SUBJECT, changed_params, clone, environment, inside
from pipeline.projects import SMALL_POPULATION

EXAMPLES = sorted((REPOSITORY / "examples").glob("plot_*.py"))
OTHER = "subj07"  # after the subject: examples begin with the first
OF_TRIALS = ("image_ids", "is_shared", "session", "run", "trial", "repetition", "betas")


@pytest.fixture(scope="module")
def two_people(pair_template, tmp_path_factory):
    """The miniature with two people made of one, who saw different pictures in training: what one
    teaches is adapted to the other.
    """
    project = clone(pair_template, tmp_path_factory.mktemp("examples") / "project")
    with changed_params(project) as params:
        params["train"]["bayes_population"] |= SMALL_POPULATION
    data = project / "data"
    split = Split.open(data / f"splits/{SUBJECT}.json", remedy="")
    for person, train in ((SUBJECT, split.train[::2]), (OTHER, split.train[1::2])):
        replace(split, train=train).save(data / f"splits/{person}.json")
    trials = TrialBetas.open(data / f"voxels/{SUBJECT}.h5", remedy="")
    kept = ~np.isin(trials.image_ids, split.train[::2])
    replace(
        trials,
        **{name: getattr(trials, name)[kept] for name in OF_TRIALS},
        provenance=trials.provenance | {"subject": OTHER},
    ).save(data / f"voxels/{OTHER}.h5")
    for name in ("examples/{}.h5", "latents/{}.h5"):
        shutil.copy(data / name.format(SUBJECT), data / name.format(OTHER))
    return project


@pytest.fixture(scope="module")
def site(two_people, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    source, target = folder / "source", folder / "site"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, source / name)
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", ".", target],
        cwd=source,
        env=environment() | {"FMRI2IMG_DOCS_PROJECT": str(two_people)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
    return target


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_prints_numbers_and_shows_a_picture(path, site):
    page = (site / f"docs/gallery/{path.stem}.html").read_text(encoding="utf-8")
    printed = re.findall(r'class="sphx-glr-script-out.*?<pre>(.*?)</pre>', page, re.DOTALL)
    assert any(re.search(r"\d", re.sub("<.*?>", "", unescape(text))) for text in printed)
    assert re.search(rf'<img[^>]*src="[^"]*sphx_glr_{path.stem}_001\.png"', page)


def test_a_built_site_needs_no_other_server_and_can_be_searched(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="([^"]*)"', text)
        loaded += re.findall(
            r'<link[^>]*rel="(?:stylesheet|preload|icon)"[^>]*href="([^"]*)"', text
        )
        assert not [one for one in loaded if re.match(r"(https?:)?//", one)], page
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert "nsdsynthet" in index  # stemmed
    assert pathlib.Path(site / "README.html").stat().st_size > 1000


def test_every_example_is_listed():
    page = (REPOSITORY / "examples/README.md").read_text(encoding="utf-8")
    assert all(f"[{path.name}]({path.name})" in page for path in EXAMPLES)


@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_from_top_to_bottom(two_people, capsys):
    notebook = json.loads((REPOSITORY / "examples/first_steps.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names = {}
    with inside(two_people):
        for cell in cells:
            exec(compile(cell, "cell", "exec"), names)  # noqa: S102 (as Jupyter does)
    plt.close("all")
    assert "latents (4, 16, 16)" in capsys.readouterr().out
    assert not any(cell.get("outputs") for cell in notebook["cells"])
