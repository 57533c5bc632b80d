import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from sklearn.decomposition import PCA

from conftest import REPOSITORY
from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.features.vae_latents import encode_pictures, to_network_range
from fmri2img.generation.decode import decode_latents, from_network_range
from fmri2img.pretrained.autoencoder import WEIGHTS, load_autoencoder
from fmri2img.project.exceptions import FormatError, MismatchError, UnavailableError

DEMO = REPOSITORY / "models" / "demo-vae"


@pytest.fixture(scope="module")
def autoencoder():
    return load_autoencoder(str(DEMO), "main")


@pytest.fixture(scope="module")
def scenes():
    """Pictures of a seed that neither the autoencoder's training nor the default experiment
    uses.
    """
    return np.stack(
        [
            render_image(4_004, image_id, 256)[::2, ::2] // 2
            + render_image(4_004, image_id, 256)[1::2, 1::2] // 2
            for image_id in range(12)
        ]
    )


def psnr(truth, decoded):
    return np.mean(
        -10 * np.log10(np.mean(((truth / 255.0) - (decoded / 255.0)) ** 2, axis=(1, 2, 3)))
    )


def patch_pca(images):
    n = len(images)
    patches = (
        images.reshape(n, 16, 8, 16, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192) / 255.0
    )
    pca = PCA(4).fit(patches)
    restored = pca.inverse_transform(pca.transform(patches)).reshape(n, 16, 16, 8, 8, 3)
    return 255 * restored.transpose(0, 1, 3, 2, 4, 5).reshape(images.shape).clip(0, 1)


def test_it_beats_a_linear_code_of_the_same_size(autoencoder, scenes):
    decoded = decode_latents(
        encode_pictures(scenes, autoencoder, batch_size=5), autoencoder, batch_size=5
    )
    assert psnr(scenes, decoded) > psnr(scenes, patch_pca(scenes)) + 1


def test_latents_have_the_geometry_of_stable_diffusion(autoencoder, scenes):
    latents = encode_pictures(scenes, autoencoder, batch_size=5)
    assert latents.shape == (12, 4, 16, 16)
    assert latents.dtype == np.float32
    assert 0.5 < latents.std() < 2


def test_batch_size_does_not_change_a_latent(autoencoder, scenes):
    np.testing.assert_allclose(
        encode_pictures(scenes, autoencoder, batch_size=12),
        encode_pictures(scenes, autoencoder, batch_size=1),
        atol=1e-4,
    )


def test_identity_names_the_bytes(autoencoder):
    assert set(autoencoder.identity) == {"name", "revision", "class", "sha256", "scaling_factor"}
    assert len(autoencoder.identity["sha256"]) == 64


def test_a_folder_with_a_vae_inside(tmp_path, autoencoder):
    shutil.copytree(DEMO, tmp_path / "sd" / "vae")
    assert (
        load_autoencoder(str(tmp_path / "sd"), "main").identity["sha256"]
        == autoencoder.identity["sha256"]
    )


def test_a_tiny_autoencoder_is_accepted(tmp_path):
    blocks = {
        "encoder_block_out_channels": (8, 8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8, 8),
    }
    AutoencoderTiny(
        **blocks, num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 1)
    ).save_pretrained(tmp_path)
    tiny = load_autoencoder(str(tmp_path), "main")
    with torch.no_grad():
        latents = tiny.encode(torch.zeros(2, 3, 32, 32))
        assert latents.shape == (2, 4, 4, 4)
        assert tiny.decode(latents).shape == (2, 3, 32, 32)


def test_no_hub_is_one_clear_line():
    with pytest.raises(
        UnavailableError,
        match=r"autoencoder.source nobody/nothing .* is neither a local folder nor available",
    ) as caught:
        load_autoencoder("nobody/nothing", "main")
    assert "\n" not in str(caught.value)


def test_another_network_is_refused(tmp_path):
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(
        FormatError,
        match="got UNet2DModel with None latent channels, expected one of AutoencoderKL, "
        "AutoencoderTiny",
    ):
        load_autoencoder(str(tmp_path), "main")
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(
        FormatError,
        match=r"expected config.json and diffusion_pytorch_model.safetensors in .*, got "
        r"\['config.json'\]",
    ):
        load_autoencoder(str(tmp_path), "main")


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_network_that_gives_no_numbers_is_refused(scenes, part):
    """Its pictures would be black, and its latents would train an encoder."""
    broken = load_autoencoder(str(DEMO), "main")
    next(getattr(broken.network, part).parameters()).fill_(torch.nan)
    run, given = {
        "encoder": (encode_pictures, scenes[:2]),
        "decoder": (decode_latents, np.zeros((2, 4, 16, 16), np.float32)),
    }[part]
    with pytest.raises(MismatchError, match=r"gave (latents|pictures) with NaN or infinity \(2 of"):
        run(given, broken, batch_size=2)


def test_ranges_are_inverse(scenes):
    np.testing.assert_array_equal(from_network_range(to_network_range(scenes)), scenes)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("config.json", "[]", "cannot be loaded"),
        ("config.json", "", "cannot be loaded"),
        ("config.json", {"latent_channels": None}, "with None latent channels"),
        ("config.json", {"latent_channels": 8}, "with 8 latent channels"),
        ("config.json", {"block_out_channels": "x"}, "cannot be loaded"),
        ("config.json", {"block_out_channels": [16]}, "cannot be loaded"),
        ("config.json", {"scaling_factor": "x"}, "cannot be loaded"),
        ("config.json", {"scaling_factor": 0}, "scaling_factor is 0.0, expected a positive"),
        (WEIGHTS, "", "cannot be loaded"),
        (WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid x\n", "a pointer of git-lfs"),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path, name, content, line):
    folder = shutil.copytree(DEMO, tmp_path / "vae")
    if isinstance(content, dict):
        content = json.dumps(json.loads((folder / name).read_text()) | content)
    (folder / name).write_text(content)
    with pytest.raises(FormatError, match=line):
        load_autoencoder(str(folder), "main")
