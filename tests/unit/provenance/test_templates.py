from pathlib import PurePosixPath

import pytest

from fmri2img.project.exceptions import FormatError
from fmri2img.provenance.templates import parse_template

PAGE = "<h1>{{ item.title }}</h1>\n{% for row in rows %}\n<p>{{ row.score }}</p>\n{% endfor %}\n"


def parse(text):
    return parse_template(PurePosixPath("fmri2img/viz/page.html.jinja"), text)


@pytest.mark.parametrize("comment", ["{# a remark #}\n", "  {# a remark\n over two lines #}\n"])
def test_a_comment_changes_nothing(comment):
    assert parse(comment + PAGE) == parse(PAGE) == parse(PAGE.replace("{% for", comment + "{% for"))


@pytest.mark.parametrize(
    ("old", "new"),
    [("h1", "h2"), ("row.score", "row.rank"), ("<p>", "<p >"), ("{% for", "\n{% for")],
)
def test_what_the_page_shows_does(old, new):
    assert parse(PAGE.replace(old, new)).digest != parse(PAGE).digest


def test_attributes_and_other_templates_are_known():
    found = parse(PAGE + "{% include 'page.css.jinja' %}")
    assert found.attributes == {"title", "score"}
    assert found.names == {"page.css.jinja"}


def test_a_broken_template_is_named_with_its_line():
    with pytest.raises(
        FormatError, match=r"src/fmri2img/viz/page.html.jinja, line 2: not a valid template"
    ):
        parse("<p>\n{% for %}")
