"""What a person reads first: the length of the README, and links that lead somewhere."""

import re

import pytest
import yaml

from conftest import REPOSITORY

PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "rois/*.md", "benchmarks/*.md", "models/demo-vae/*.md")
    for path in sorted(REPOSITORY.glob(pattern))
]
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page):
    """The addresses of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def linked(page):
    """The files of the repository that a page links to."""
    names = (link.partition("#")[0] for link in _LINK.findall(page.read_text("utf-8")))
    return {(page.parent / name).resolve() for name in names if name}


def test_the_readme_is_read_in_a_minute_or_three():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()) <= 700


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reached_from_the_first_in_two_clicks():
    first = linked(REPOSITORY / "README.md")
    reached = first.union(*(linked(page) for page in first if page.suffix == ".md"))
    assert not {page for page in PAGES if page.parent.name == "docs"} - reached


def test_every_test_that_the_page_of_faults_names_is_there():
    page = (REPOSITORY / "tests/robustness/README.md").read_text(encoding="utf-8")
    names = set(
        re.findall(r"\b((?:unit|functional|pipeline|robustness)/\S+\.py)::(test_\w+)", page)
    )
    assert len(names) > 100
    for path, name in sorted(names):
        text = (REPOSITORY / "tests" / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{path}::{name}"


# What a PhD student asks, the page that answers, and words of the answer.
QUESTIONS = {
    "How much do I download, and how long does it take?": ("docs/real-nsd.md", "44 GB"),
    "My betas come from GLMsingle: can I use them?": ("docs/own-data.md", "GLMsingle"),
    "How do I decode new scans with a trained encoder?": ("docs/decoding.md", "fmri2img decode"),
    "What score is chance?": ("docs/metrics.md", "chance"),
    "Why does it want to run everything again?": ("docs/reruns.md", "fmri2img why"),
    "How does my colleague get the voxels?": ("docs/sharing.md", "fmri2img pull"),
    "How do I run it on our SLURM cluster?": ("docs/cluster.md", "pipeline.sh"),
    "It printed an error with a code: what now?": ("docs/error-lines.md", "| X7b25 |"),
    "I have one hour of a new subject: is that enough?": ("docs/new-person.md", "minutes"),
    "How do I add my own model?": ("CONTRIBUTING.md", "### A model"),
    "What do I write in the methods section?": ("docs/paper.md", "fmri2img paper"),
    "Is it better than MindEye2?": ("docs/compares.md", "MindEye2"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_two_clicks_away(question):
    name, words = QUESTIONS[question]
    page = REPOSITORY / name
    assert words in page.read_text(encoding="utf-8")
    first = linked(REPOSITORY / "README.md")
    assert page in first.union(*(linked(one) for one in first if one.suffix == ".md"))


def setting(values, name):
    """Whether params.yaml has a key of this dotted name."""
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def test_pages_name_settings_that_exist():
    """In running text; blocks of YAML are checked whole."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    n_named = 0
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # which also names those of earlier versions
            continue
        text = _CODE.sub("", page.read_text(encoding="utf-8"))
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)`", text):
            section = name.partition(".")[0]
            module = REPOSITORY / "src/fmri2img" / name.replace(".", "/")
            if name.endswith((".yaml", ".json", ".lock")):
                continue
            if section not in params or module.with_suffix(".py").exists() or module.is_dir():
                continue
            n_named += 1
            assert setting(params, name), f"{page.name}: there is no setting {name}"
    assert n_named > 20


def test_pages_name_error_codes_that_exist():
    listed = (REPOSITORY / "docs/error-lines.md").read_text(encoding="utf-8")
    for page in PAGES:
        if page.name in ("CHANGELOG.md", "error-lines.md"):  # the first line of the latter explains
            continue
        for code in re.findall(r"\[([A-Z][0-9a-f]{4})\]", page.read_text(encoding="utf-8")):
            assert f"| {code} |" in listed, f"{page.name}: {code}"
