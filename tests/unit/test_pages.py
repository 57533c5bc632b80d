"""What a person reads first: the length of the README, and links that lead somewhere."""

import re

import pytest

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
    def linked(page):
        names = (link.partition("#")[0] for link in _LINK.findall(page.read_text("utf-8")))
        return {(page.parent / name).resolve() for name in names if name}

    first = linked(REPOSITORY / "README.md")
    reached = first.union(*(linked(page) for page in first if page.suffix == ".md"))
    assert not {page for page in PAGES if page.parent.name == "docs"} - reached
