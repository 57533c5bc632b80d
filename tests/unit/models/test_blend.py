import pytest
import torch
import yaml

from conftest import REPOSITORY
from fmri2img.models._joint import JointEncoder
from fmri2img.models.base import Encoder, EncoderSettings
from fmri2img.models.registry import check_settings
from fmri2img.project.exceptions import ConfigError

SECTION = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]["blend"]
SHAPE = (4, 2, 2)


class Times(Encoder):
    """Predicts the first voxel times a number, everywhere."""

    def forward(self, betas, repetitions=None):  # noqa: ARG002 (the contract of encoders)
        return betas[:, :1, None, None].expand(-1, *self.latent_shape) * self.settings


class Joint(JointEncoder):
    parts = {"twice": Times, "thrice": Times}  # noqa: RUF012


class Factors(EncoderSettings):
    twice: float = 2.0
    thrice: float = 3.0


@pytest.fixture
def joint():
    return Joint(1, SHAPE, Factors())


@pytest.mark.parametrize(
    ("factor", "share"), [(2.25, 0.75), (2.0, 1.0), (3.0, 0.0), (-5.0, 1.0), (9.0, 0.0)]
)
def test_weights_have_the_smallest_error_and_stay_between_0_and_1(joint, rng, factor, share):
    betas = torch.from_numpy(rng.normal(size=(30, 1))).float()
    truth = factor * betas[:, :, None, None].expand(-1, *SHAPE)
    facts = joint.weigh(betas, torch.ones(30).long(), truth)
    assert facts == pytest.approx({"share_of_twice": share, "share_of_thrice": 1 - share}, abs=1e-5)
    expected = (2 * share + 3 * (1 - share)) * betas[:, :, None, None].expand(-1, *SHAPE)
    torch.testing.assert_close(joint(betas), expected, rtol=1e-4, atol=1e-5)


def test_encoders_that_agree_weigh_the_same(joint):
    betas = torch.zeros(5, 1)
    facts = joint.weigh(betas, torch.ones(5).long(), torch.ones(5, *SHAPE))
    assert facts == {"share_of_twice": 0.5, "share_of_thrice": 0.5}


def test_betas_are_clipped_by_the_settings_of_each_part():
    with pytest.raises(ConfigError, match=r"train\.blend\.clip_mads: unknown key"):
        check_settings("blend", SECTION | {"clip_mads": 5})
    assert check_settings("blend", SECTION).bayes.clip_mads == SECTION["bayes"]["clip_mads"] > 0


def test_no_validation_image_gives_equal_weights(joint):
    facts = joint.weigh(torch.zeros(0, 1), torch.zeros(0).long(), torch.zeros(0, *SHAPE))
    assert facts == {"share_of_twice": 0.5, "share_of_thrice": 0.5}
