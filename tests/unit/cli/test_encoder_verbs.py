from types import SimpleNamespace

import pytest

from commands import fmri2img
from fmri2img.cli.encoder_verbs import _name_in
from fmri2img.project.exceptions import MismatchError


@pytest.mark.parametrize("value", ["../../x", "/etc", "", ".hidden", "a/b", "a\n"])
def test_a_tag_that_leads_elsewhere_is_refused(value):
    item = SimpleNamespace(uri="models:/fmri2img-ridge-subj01/1", tags={"subject": value})
    with pytest.raises(MismatchError, match=r"its tag subject is .* nothing was written"):
        _name_in(item, "subject")


def test_names_of_subjects_and_models_are_taken():
    tags = {"subject": "sub-01.a", "model": "bayes_independent"}
    item = SimpleNamespace(uri="models:/fmri2img-ridge-subj01/1", tags=tags)
    assert [_name_in(item, tag) for tag in tags] == list(tags.values())


def test_what_cannot_be_a_subject_is_not_asked_of_the_server(tmp_path):
    result = fmri2img(tmp_path, "list", "x'y", check=False)
    assert result.returncode == 1
    assert 'error: "x\'y" is not the name of a subject; run: fmri2img list' in result.stderr
