"""What ``fmri2img share --public`` pushes."""

import pytest

from fmri2img.cli.sharing_verbs import _public_stages
from fmri2img.project.exceptions import ConfigError
from fmri2img.sharing.remotes import MODEL_STAGES, RESPONSE_STAGES, SHARED_STAGES


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (SHARED_STAGES, "nothing else: responses"),
        (MODEL_STAGES, "nothing else, also no encoders or pictures: responses"),
    ],
)
def test_responses_that_are_free_go_without_the_pictures(asked, told, capsys):
    assert _public_stages("laion", "responses are CC0", asked) == RESPONSE_STAGES
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("source", ["simulated", "folder"])
def test_what_has_no_terms_goes_as_asked(source):
    assert _public_stages(source, "", MODEL_STAGES) == MODEL_STAGES


@pytest.mark.parametrize("source", ["folder", "nsd", ""])
def test_what_has_terms_stays(source):
    with pytest.raises(
        ConfigError, match="--public: not for everybody: for our group only; use a remote"
    ):
        _public_stages(source, "for our group only", MODEL_STAGES)
