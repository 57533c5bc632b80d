import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image

from fmri2img.generation.diffusion_pictures import PictureMaker, Request
from fmri2img.pretrained.diffusion import open_diffusion
from fmri2img.project.config import GenerateParams
from fmri2img.project.exceptions import MismatchError, UnavailableError

SETTINGS = GenerateParams(
    n_steps=3, strength=0.8, guidance=5.0, n_samples=2, precision="float32", seed=0
)
SCALE = 0.5  # the tiny autoencoder's


@pytest.fixture(scope="module")
def diffusion(tiny_diffusion):
    return open_diffusion(str(tiny_diffusion), "main")


@pytest.fixture(scope="module")
def requests(diffusion):
    rng = np.random.default_rng(4)
    embeddings = (
        diffusion.load_text(torch.device("cpu"))
        .embed(["a photo of a boat", "food on the vase", "a tree"])
        .numpy()
    )
    z_latents = rng.normal(size=(3, 4, 40, 40)).astype(np.float32)
    return [
        Request(f"{row:05d}-0", (0, 100 + row, 0), embedding, z_latent)
        for row, (embedding, z_latent) in enumerate(zip(embeddings, z_latents, strict=True))
    ]


def make_maker(diffusion, batch="auto", **changes):
    return PictureMaker.of(diffusion, SETTINGS.model_copy(update=changes), batch)


@pytest.fixture(scope="module")
def maker(diffusion):
    return make_maker(diffusion)


def plain_picture(folder, request, *, strength, n_steps=3, guidance=5.0):
    """The same picture written out from the method's description, on no class of the project and
    no scheduler.
    """
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    times = [1 + step * (1000 // n_steps) for step in range(n_steps)]
    seed = int(np.random.SeedSequence(request.seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    noise = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(seed))
    last = n_steps
    x = noise
    with torch.no_grad():
        if request.z_latent is not None:
            last = int(strength * n_steps)
            small = vae.decode(torch.from_numpy(request.z_latent)[None] / SCALE).sample[0]
            small = ((small.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            large = np.asarray(
                Image.fromarray(small).resize((512, 512), Image.Resampling.BICUBIC)
            ).copy()
            z = (
                SCALE
                * vae.encode(
                    torch.from_numpy(large).permute(2, 0, 1)[None] / 127.5 - 1
                ).latent_dist.mean
            )
            alpha = alphas[times[min(last, n_steps - 1)]]
            x = alpha**0.5 * z + (1 - alpha) ** 0.5 * noise
        empty = empty_text(folder)
        for step in range(last - 1, -1, -1):
            embedding = torch.from_numpy(request.text_embedding)[None]
            unconditional, conditional = (
                unet(x, times[step], encoder_hidden_states=text).sample
                for text in (empty, embedding)
            )
            predicted = unconditional + guidance * (conditional - unconditional)
            alpha, before = alphas[times[step]], alphas[times[step - 1]] if step else alphas[0]
            picture = (x - (1 - alpha) ** 0.5 * predicted) / alpha**0.5
            x = before**0.5 * picture + (1 - before) ** 0.5 * predicted
        decoded = vae.decode(x / SCALE).sample[0]
    return ((decoded.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()


def empty_text(folder):
    return open_diffusion(str(folder), "main").load_text(torch.device("cpu")).embed([""])


@pytest.mark.parametrize("strength", [0.8, 0.34, 1.0])
def test_schedule_start_guidance_and_scaling_are_those_of_the_method(diffusion, requests, strength):
    made = make_maker(diffusion, strength=strength).make(requests[:1])[0]
    expected = plain_picture(diffusion.path, requests[0], strength=strength)
    # Rounding to whole numbers, of the z_latent and of the picture, and a little arithmetic.
    assert np.abs(made - expected).max() < 1.5
    assert np.abs(made - expected).mean() < 0.3
    assert expected.std() > 5


def test_c_alone_starts_from_noise_and_takes_all_steps(diffusion, requests, maker):
    alone = Request("c", (0, 7), requests[1].text_embedding, None)
    assert (
        np.abs(maker.make([alone])[0] - plain_picture(diffusion.path, alone, strength=0.8)).max()
        < 1
    )


def test_fifty_steps_start_at_the_noise_of_step_40(diffusion, requests, monkeypatch):
    """Strength 0.8: the noise of time 801, denoised from time 781 on in 40 steps."""
    maker, seen = make_maker(diffusion, n_steps=50), []
    monkeypatch.setattr(
        maker,
        "_guided_noise",
        lambda latents, _, step: seen.append(int(step)) or torch.zeros_like(latents),
    )
    added = []
    original = maker.scheduler.add_noise
    monkeypatch.setattr(
        maker.scheduler,
        "add_noise",
        lambda z, noise, step: added.append(int(step[0])) or original(z, noise, step),
    )
    maker.make(requests[:1])
    assert added == [801]
    assert seen == list(range(781, 0, -20))


def test_guidance_1_is_the_condition_alone_and_0_the_empty_prompt(diffusion, requests):
    latents, embedding = (
        torch.randn(1, 4, 64, 64),
        torch.from_numpy(requests[0].text_embedding)[None],
    )
    step = torch.tensor(401)
    with torch.no_grad():
        for guidance, text in ((1.0, embedding), (0.0, empty_text(diffusion.path))):
            maker = make_maker(diffusion, guidance=guidance)
            expected = maker.unet(latents, step, encoder_hidden_states=text).sample
            torch.testing.assert_close(
                maker._guided_noise(latents, embedding, step), expected, atol=1e-5, rtol=1e-4
            )


def test_batch_and_order_change_no_byte(diffusion, requests, maker, tmp_path):
    everything = [*requests, Request("0-c", (9, 1), requests[0].text_embedding, None)]
    names = [request.name for request in everything]
    expected = maker.make_all(everything, tmp_path / "a", 0)
    for number, (batch, order) in enumerate(
        ((1, names[::-1]), (8, [names[row] for row in (3, 0, 2, 1)]))
    ):
        wanted = sorted(everything, key=lambda request: order.index(request.name))
        made = make_maker(diffusion, batch).make_all(wanted, tmp_path / str(number), 0)
        for name in names:
            np.testing.assert_array_equal(made.read(name), expected.read(name))


def test_another_seed_gives_another_picture_and_the_same_scene(requests, maker):
    other = Request("x", (1, 100, 0), requests[0].text_embedding, requests[0].z_latent)
    first, second = maker.make([requests[0], other])
    assert (first != second).mean() > 0.5
    np.testing.assert_array_equal(
        maker.pictures_of_z(requests[0].z_latent[None]), maker.pictures_of_z(other.z_latent[None])
    )


def test_a_stopped_generation_goes_on_with_the_same_pictures(diffusion, requests, maker, tmp_path):
    whole = maker.make_all(requests, tmp_path / "whole", "x")

    def stop_after_one(items, **_):
        for number, item in enumerate(items):
            yield item
            if number == 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_maker(diffusion, 1).make_all(requests, tmp_path / "cut", "x", progress=stop_after_one)
    (folder,) = (tmp_path / "cut").iterdir()
    assert len(list(folder.glob("*.png"))) == 1
    told = {}
    rest = make_maker(diffusion, 1).make_all(
        requests,
        tmp_path / "cut",
        "x",
        progress=lambda items, **options: told.update(options) or items,
    )
    assert told == {"total": 3, "initial": 1}
    for request in requests:
        np.testing.assert_array_equal(rest.read(request.name), whole.read(request.name))
    rest.forget()
    assert not (tmp_path / "cut").exists()


def test_a_half_written_picture_is_made_again_and_a_whole_one_is_not(
    requests, maker, tmp_path, monkeypatch
):
    made = maker.make_all(requests[:2], tmp_path, "x")
    path = made.folder / f"{requests[0].name}.png"
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    batches = []
    original = maker.make
    monkeypatch.setattr(
        maker,
        "make",
        lambda batch: batches.append([request.name for request in batch]) or original(batch),
    )
    maker.make_all(requests[:2], tmp_path, "x")
    assert batches == [[requests[0].name]]
    assert path.read_bytes() == before


def test_pictures_of_other_weights_or_settings_are_not_taken(diffusion, requests, maker, tmp_path):
    first = maker.make_all(requests[:1], tmp_path, "x")
    other = make_maker(diffusion, guidance=1.0).make_all(requests[:1], tmp_path, "x")
    third = maker.make_all(requests[:1], tmp_path, "other weights")
    assert len({first.folder, other.folder, third.folder}) == 3
    assert (first.read(requests[0].name) != other.read(requests[0].name)).any()


def raise_out_of_memory(most):
    def make(batch):
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return np.zeros((len(batch), 512, 512, 3), np.uint8)

    return make


def test_a_network_that_overflows_leaves_no_picture(tiny_diffusion, requests, tmp_path):
    """As in float16: its pictures would be black."""
    broken = open_diffusion(str(tiny_diffusion), "main")
    maker = make_maker(broken)
    next(maker.unet.parameters()).data.fill_(torch.inf)
    with pytest.raises(MismatchError, match="the decoder gave pictures with NaN or infinity"):
        maker.make_all(requests, tmp_path, 0)


def test_too_little_memory_halves_the_batch(diffusion, requests, tmp_path, monkeypatch):
    maker = make_maker(diffusion)
    maker._batch = 8
    monkeypatch.setattr(maker, "make", raise_out_of_memory(2))
    made = maker.make_all(requests, tmp_path, 0)
    assert all(made.holds(request.name) for request in requests)
    assert maker._batch == 2


@pytest.mark.parametrize(("batch", "now"), [(2, "now 2"), ("auto", "now auto, which fell to 1")])
def test_no_memory_at_all_names_the_knobs(diffusion, requests, tmp_path, monkeypatch, batch, now):
    maker = make_maker(diffusion, batch)
    monkeypatch.setattr(maker, "make", raise_out_of_memory(0))
    with pytest.raises(
        UnavailableError,
        match=rf"lower machine.generation_batch in params.yaml \({now}\), or set "
        r"generate.precision to float16",
    ):
        maker.make_all(requests, tmp_path, 0)
