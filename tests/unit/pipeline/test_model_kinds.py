"""What models ask for: targets that somebody makes, a renderer that there is, the right list."""

from types import SimpleNamespace

import pytest
import torch

from conftest import REPOSITORY
from fmri2img.generation.renderers.renderer import renderer_of
from fmri2img.models.base import Encoder
from fmri2img.models.registry import (
    current_name,
    load_encoder,
    model_class,
    model_names,
    save_verified,
    stage_of,
)
from fmri2img.pipeline.checks import _check_model
from fmri2img.project.exceptions import ConfigError, MismatchError
from fmri2img.project.params_file import load_params
from fmri2img.training.targets.kinds import targets_of


@pytest.mark.parametrize("name", model_names())
def test_every_model_has_targets_and_a_renderer_of_its_kind(name):
    model = model_class(name)
    targets, renderer = targets_of(model), renderer_of(model)
    are_latents = model.kind in ("latents", "population")
    assert targets.are_latents == are_latents == renderer.states_errors_of_latents


def test_targets_that_nobody_makes():
    model = type("Model", (Encoder,), {"targets": "latent_target", "__module__": "models.mine"})
    with pytest.raises(
        ConfigError,
        match=r"targets: there is no 'latent_target' \(did you mean latent_targets or "
        r"population_targets\?\); choose from: latent_targets, picture_targets, "
        r"population_targets, steering_targets, or",
    ):
        targets_of(model)


def test_a_renderer_that_there_is_not():
    model = type("Model", (Encoder,), {"renderer": "gan", "__module__": "models.mine"})
    with pytest.raises(
        ConfigError,
        match=r"models.mine: renderer: there is no 'gan'; choose from: latent_decoder, own_decoder",
    ):
        renderer_of(model)


def test_a_renderer_that_cannot_take_what_a_model_predicts(monkeypatch):
    monkeypatch.setattr(model_class("upscaling_ae"), "renderer", "latent_decoder")
    with pytest.raises(
        ConfigError,
        match=r"upscaling_ae: renderer: latent_decoder decodes latents of the project's autoencoder"
        r", and picture_targets are none; name a renderer that takes them",
    ):
        _check_model("upscaling_ae", "pixels", load_params(REPOSITORY / "params.yaml"))


def test_stages_are_called_by_kind():
    assert stage_of("train", "subj01", "ridge") == "train@subj01-ridge"
    assert stage_of("train", "subj01", "bayes_population") == (
        "train_population@subj01-bayes_population"
    )
    assert stage_of("predict", "subj01", "takagi") == "predict_diffusion@subj01-takagi"
    assert stage_of("evaluate", "subj01", "upscaling_ae") == "evaluate_pixels@subj01-upscaling_ae"
    assert current_name("default") == "bayes_independent"
    assert model_class("default") is model_class("bayes_independent")


class Forgetful(Encoder):
    """Its output depends on a number that is not saved, until `registers`; it learns a shape."""

    trained_by_gradient = False
    registers = False

    def __init__(self, n_voxels, latent_shape, settings):
        super().__init__(n_voxels, latent_shape, settings)
        self.register_buffer("pictures", torch.zeros(0, 4))

    def solve(self, data):
        self.register_buffer("pictures", torch.ones(len(data), 4))
        self.factor = torch.tensor(3.0)
        if self.registers:
            self.pictures *= self.factor
        return {}

    def decode_voxels(self, voxels):
        factor = 1.0 if self.registers else getattr(self, "factor", torch.tensor(1.0))
        numbers = voxels.mean(1, keepdim=True) * factor * self.pictures.mean(0)
        return numbers.reshape(-1, 4, 1, 1).expand(-1, *self.latent_shape)


@pytest.fixture
def forgetful(monkeypatch):
    settings = SimpleNamespace(model_dump=lambda **_: {})
    Forgetful.Settings = SimpleNamespace(model_validate=lambda _: settings)
    monkeypatch.setattr("fmri2img.models.registry.model_class", lambda _: Forgetful)
    monkeypatch.setattr("fmri2img.models.registry.model_names", lambda: ["forgetful"])

    def solved(*, registers):
        monkeypatch.setattr(Forgetful, "registers", registers)
        encoder = Forgetful(5, (4, 2, 2), settings)
        encoder.solve(range(7))
        return encoder

    return solved


def test_a_model_may_learn_its_shapes_in_solve(forgetful, tmp_path):
    encoder, betas = forgetful(registers=True), torch.randn(3, 5)
    save_verified(encoder, "forgetful", tmp_path / "encoder", {}, betas)
    again, _ = load_encoder(tmp_path / "encoder")
    assert again.pictures.shape == (7, 4)
    assert torch.equal(again(betas), encoder(betas))
    assert sorted(path.name for path in (tmp_path / "encoder").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_a_model_that_forgets_replaces_nothing(forgetful, tmp_path):
    folder = tmp_path / "encoder"
    save_verified(forgetful(registers=True), "forgetful", folder, {}, torch.randn(3, 5))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(
        MismatchError,
        match=r"forgetful: its output differs after saving and loading, and nothing was replaced; ",
    ):
        save_verified(forgetful(registers=False), "forgetful", folder, {}, torch.randn(3, 5))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_that_cannot_be_rebuilt_replaces_nothing(forgetful, tmp_path):
    encoder = forgetful(registers=True)
    encoder.late = torch.nn.Linear(5, 2)  # made after __init__
    with pytest.raises(MismatchError, match=r"its saved weights do not rebuild it \(.*late"):
        save_verified(encoder, "forgetful", tmp_path / "encoder", {}, torch.randn(3, 5))
    assert not list((tmp_path / "encoder").iterdir())
