from types import SimpleNamespace

import pytest

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
