import json
import os
import shutil

import pytest
import torch
from transformers import CLIPTextModel

from fmri2img.pretrained.autoencoder import load_autoencoder_of
from fmri2img.pretrained.diffusion import open_diffusion, open_diffusion_of
from fmri2img.project.exceptions import FormatError, MismatchError, UnavailableError


@pytest.fixture
def copied(tiny_diffusion, tmp_path):
    return shutil.copytree(tiny_diffusion, tmp_path / "copied")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (
            "unet/config.json",
            {"sample_size": 96},
            "unet has sample_size 96, expected 64 as in Stable Diffusion 1.x",
        ),
        ("unet/config.json", {"in_channels": 9}, "unet has in_channels 9, expected 4"),
        (
            "unet/config.json",
            {"cross_attention_dim": 1024},
            "unet has cross_attention_dim 1024, expected 768",
        ),
        ("vae/config.json", {"latent_channels": 16}, "vae has latent_channels 16, expected 4"),
        (
            "text_encoder/config.json",
            {"hidden_size": 1024},
            "text_encoder has hidden_size 1024, expected 768",
        ),
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "v_prediction"},
            "scheduler has prediction_type v_prediction, expected epsilon",
        ),
    ],
)
def test_another_geometry_is_refused(copied, part, values, message):
    change(copied / part, **values)
    with pytest.raises(FormatError, match=f"diffusion.source {copied}: {message}"):
        open_diffusion(str(copied), "main")


def test_a_missing_part_is_named(copied):
    (copied / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(
        FormatError,
        match=r"unet/diffusion_pytorch_model.safetensors is missing \(1 files missing in all\)",
    ):
        open_diffusion(str(copied), "main")


def test_no_hub_is_one_line_that_names_the_setting():
    with pytest.raises(
        UnavailableError,
        match=r"^diffusion.source nobody/nothing \(revision main\) is neither a local folder nor "
        r".* a folder that holds it$",
    ):
        open_diffusion("nobody/nothing", "main")


def test_identity_is_the_bytes_of_the_weights(tiny_diffusion, copied):
    here, there = (open_diffusion(str(folder), "main") for folder in (tiny_diffusion, copied))
    weights = ("vae", "text_encoder", "unet")
    assert [here.identity[part] for part in weights] == [there.identity[part] for part in weights]
    about = here.describe()
    assert about["diffusion"] == str(tiny_diffusion)
    assert open_diffusion_of(about, str(copied)).path == copied
    with (copied / "unet/diffusion_pytorch_model.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(
        MismatchError,
        match=r"the weights of unet have SHA-256 \w{12}, but the encoder was trained for .* name "
        r"that source",
    ):
        open_diffusion_of(about, str(copied))


def test_an_encoder_of_z_is_decoded_by_stable_diffusions_autoencoder(tiny_diffusion):
    found = open_diffusion(str(tiny_diffusion), "main")
    about = {
        "autoencoder": "models/demo-vae",
        "autoencoder.revision": "main",
        "autoencoder.sha256": "0",
    } | found.describe()
    assert load_autoencoder_of(about).identity["sha256"] == found.identity["vae"]
    with pytest.raises(MismatchError, match="name that source"):
        load_autoencoder_of(about | {"diffusion.vae": "0" * 64})


def test_an_older_config_has_the_published_scaling_factor(copied):
    config = json.loads((copied / "vae/config.json").read_text())
    del config["scaling_factor"]
    (copied / "vae/config.json").write_text(json.dumps(config))
    assert (
        open_diffusion(str(copied), "main").load_autoencoder().identity["scaling_factor"] == 0.18215
    )


def test_texts_become_77_hidden_states_after_the_final_norm(tiny_diffusion):
    text = open_diffusion(str(tiny_diffusion), "main").load_text(torch.device("cpu"))
    embedded = text.embed(["A photo of a tree", ""])
    assert embedded.shape == (2, 77, 768)
    begin, end = text.tokenizer.bos_token_id, text.tokenizer.eos_token_id
    (words,) = text.tokenizer(["a photo of a tree"], add_special_tokens=False).input_ids
    tokens = torch.tensor([[begin, *words, *[end] * (76 - len(words))]])
    network = CLIPTextModel.from_pretrained(tiny_diffusion / "text_encoder")
    torch.testing.assert_close(
        embedded[:1], network(tokens).last_hidden_state.detach(), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(embedded[0, 0], embedded[1, 0])  # the first token sees itself alone
    assert (embedded[0, 1:] - embedded[1, 1:]).abs().amax(1).min() > 0.01


def test_longer_texts_are_cut_and_counted(tiny_diffusion):
    text = open_diffusion(str(tiny_diffusion), "main").load_text(torch.device("cpu"))
    assert text.n_too_long(["tree " * 75, "tree " * 76, "", "tree " * 300]) == 2
    torch.testing.assert_close(text.embed(["tree " * 300]), text.embed(["tree " * 75]))


def test_the_scheduler_is_the_original_ddim_whatever_the_folder_was_saved_with(copied):
    change(
        copied / "scheduler/scheduler_config.json",
        _class_name="PNDMScheduler",
        clip_sample=True,
        set_alpha_to_one=True,
        steps_offset=0,
    )
    scheduler = open_diffusion(str(copied), "main").load_scheduler()
    scheduler.set_timesteps(50)
    assert scheduler.timesteps.tolist() == list(range(981, 0, -20))
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(
        scheduler.alphas_cumprod.double(), torch.cumprod(1 - betas, 0), atol=1e-5, rtol=1e-5
    )
    assert scheduler.final_alpha_cumprod == scheduler.alphas_cumprod[0]
    assert not scheduler.config.clip_sample


@pytest.mark.parametrize(
    ("name", "content", "load", "line"),
    [
        ("tokenizer/vocab.json", "version https://git-lfs...", "load_text", "tokenizer and text"),
        ("scheduler/scheduler_config.json", '{"beta_start": "x"}', "load_scheduler", "scheduler"),
        ("text_encoder/model.safetensors", "short", "load_text", "tokenizer and text_encoder"),
    ],
)
def test_a_damaged_part_is_one_line(copied, name, content, load, line):
    folder = open_diffusion(str(copied), "main")
    (copied / name).write_text(content)
    with pytest.raises(FormatError, match=f"{line}.*: cannot be loaded .*; name a Stable Diff"):
        getattr(folder, load)()


def test_an_empty_list_of_merges_would_read_captions_otherwise(copied):
    (copied / "tokenizer/merges.txt").write_text("")
    with pytest.raises(FormatError, match=r"merges\.txt: is empty; complete the folder, or name"):
        open_diffusion(str(copied), "main")


def test_a_pipe_is_refused(copied):
    for name in ("tokenizer/vocab.json", "unet/config.json"):
        kept = (copied / name).read_bytes()
        (copied / name).unlink()
        os.mkfifo(copied / name)
        with pytest.raises(FormatError, match=rf"{name}: is no file; complete the folder, or name"):
            open_diffusion(str(copied), "main")
        (copied / name).unlink()
        (copied / name).write_bytes(kept)


@pytest.mark.parametrize("about", [{}, {"diffusion": "x"}, {"autoencoder": "x"}])
def test_an_encoder_that_does_not_name_its_autoencoder(about):
    line = r"about: (autoencoder|diffusion)\S* is missing; take an encoder that fmri2img trained"
    with pytest.raises(FormatError, match=line):
        load_autoencoder_of(about)


def test_a_config_that_is_no_object(copied):
    (copied / "unet/config.json").write_text("[]")
    with pytest.raises(FormatError, match=r"config\.json: expected names and values"):
        open_diffusion(str(copied), "main")
