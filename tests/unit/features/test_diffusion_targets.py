import logging

import numpy as np
import pytest
import torch
from PIL import Image

from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.features.diffusion_targets import embed_captions, encode_z_latents, forget_blocks
from fmri2img.pretrained.diffusion import open_diffusion
from fmri2img.project.exceptions import MismatchError

N_IMAGES = 70  # one block of 64, and a part of another
CAPTIONS = [[f"a {word} in the tree", "food"] for word in ("person", "boat", "vase")] * 23 + [
    ["a boat"]
]


@pytest.fixture(scope="module")
def text(tiny_diffusion):
    return open_diffusion(str(tiny_diffusion), "main").load_text(torch.device("cpu"))


class Counting:
    """Hands calls on, counts them, and stops after some."""

    def __init__(self, text, stop_after=10**9):
        self.text, self.stop_after, self.n_calls = text, stop_after, 0

    def embed(self, texts):
        self.n_calls += 1
        if self.n_calls > self.stop_after:
            raise KeyboardInterrupt
        return self.text.embed(texts)

    def n_too_long(self, texts):
        return self.text.n_too_long(texts)


def embed(text, folder, made_from="x"):
    return embed_captions(CAPTIONS, text, batch_size=16, folder=folder, made_from=made_from)


def test_targets_that_are_no_numbers_are_not_kept(text, tmp_path):
    class Broken(Counting):
        def embed(self, texts):
            return torch.full_like(super().embed(texts), torch.nan)

    with pytest.raises(MismatchError, match=r"Stable Diffusion.* targets"):
        embed(Broken(text), tmp_path)
    assert not list(tmp_path.glob("*.npy"))


def test_an_image_has_the_mean_of_its_captions(text, tmp_path):
    embeddings, n_truncated = embed(text, tmp_path)
    assert embeddings.shape == (N_IMAGES, 77, 768)
    assert embeddings.dtype == np.float16
    assert n_truncated == 0
    expected = text.embed(CAPTIONS[1]).mean(0).numpy()
    np.testing.assert_allclose(embeddings[1], expected, atol=2e-3, rtol=1e-3)
    np.testing.assert_allclose(
        embeddings[-1], text.embed(["a boat"])[0].numpy(), atol=2e-3, rtol=1e-3
    )


def test_long_captions_are_told_with_their_number(text, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _, n_truncated = embed_captions(
            [["tree " * 90, "boat"], ["food"]], text, batch_size=2, folder=tmp_path, made_from=0
        )
    assert n_truncated == 1
    assert (
        "1 of 3 captions are too long for the text encoder; their ends are cut off" in caplog.text
    )


def test_a_stopped_run_goes_on_with_the_same_result(text, tmp_path):
    whole, _ = embed(text, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        embed(Counting(text, stop_after=8), tmp_path / "cut")  # the first block has eight batches
    assert len(list((tmp_path / "cut").iterdir())) == 1
    left = Counting(text)
    again, _ = embed(left, tmp_path / "cut")
    assert left.n_calls == 1
    assert again.tobytes() == whole.tobytes()


def test_a_half_written_block_is_made_again(text, tmp_path):
    whole, _ = embed(text, tmp_path)
    block = sorted(tmp_path.iterdir())[1]
    block.write_bytes(block.read_bytes()[:1000])
    again, _ = embed(text, tmp_path)
    assert again.tobytes() == whole.tobytes()


def test_blocks_of_something_else_are_not_used(text, tmp_path):
    embed(text, tmp_path)
    other = Counting(text)
    embed(other, tmp_path, made_from="other captions")
    assert other.n_calls > 0
    forget_blocks(tmp_path)
    assert not tmp_path.exists()


def test_scenes_are_the_mode_of_the_picture_at_320(tiny_diffusion, tmp_path):
    autoencoder = open_diffusion(str(tiny_diffusion), "main").load_autoencoder(torch.device("cpu"))
    pictures = {image_id: render_image(3, image_id, 85) for image_id in (5, 6, 8)}
    z_latents = encode_z_latents(
        lambda ids: (pictures[image_id] for image_id in ids),
        np.array([5, 6, 8]),
        autoencoder,
        batch_size=2,
        folder=tmp_path,
        made_from=0,
    )
    assert z_latents.shape == (3, 4, 40, 40)
    large = (
        np.asarray(
            Image.fromarray(pictures[8]).resize((320, 320), Image.Resampling.LANCZOS), np.float32
        )
        / 127.5
        - 1
    )
    with torch.no_grad():
        expected = autoencoder.network.encode(
            torch.from_numpy(large).permute(2, 0, 1)[None]
        ).latent_dist.mode()
    np.testing.assert_allclose(
        z_latents[2],
        (expected[0] * autoencoder.network.config.scaling_factor).numpy(),
        atol=2e-3,
        rtol=1e-3,
    )
