"""The frozen Stable Diffusion 1.x: its parts, their identity, and text embeddings."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fmri2img.pretrained.autoencoder import (
    WEIGHTS,
    FrozenAutoencoder,
    check_weights,
    download,
    load_autoencoder,
    pick_device,
)
from fmri2img.pretrained.loading import loading
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import hash_file
from fmri2img.project.places import where_it_is

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, UNet2DConditionModel

logger = logging.getLogger(__name__)
# Stable Diffusion 1.x: tokens and features of a prompt; sides, in latent cells, of z and of the
# latent that is denoised.
PROMPT_SHAPE = (77, 768)
SCENE_CELLS, PICTURE_CELLS = 40, 64
CELL_PIXELS = 8
# Folder of each part, with its files.
_PARTS = {
    "vae": ("config.json", WEIGHTS),
    "text_encoder": ("config.json", "model.safetensors"),
    "tokenizer": ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"),
    "unet": ("config.json", WEIGHTS),
    "scheduler": ("scheduler_config.json",),
}
_HASHED = ("vae", "text_encoder", "unet")
_REMEDY = "name a Stable Diffusion 1.x as diffusion.source in params.yaml"
_OPTIONAL = ("tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class DiffusionFolder:
    """A folder with Stable Diffusion, checked to be version 1.x.

    Attributes
    ----------
    path : Path
    identity : dict of str to str
        ``name``, ``revision``, and the SHA-256 of the weights of ``vae``, ``text_encoder`` and
        ``unet``.
    """

    path: Path
    identity: dict[str, str]

    @property
    def weights(self) -> dict[str, str]:
        """SHA-256 of the weights alone, independent of their location."""
        return {part: self.identity[part] for part in _HASHED}

    def describe(self) -> dict[str, str]:
        """Return the identity as an encoder's config records it, under flat names."""
        return {
            "diffusion" if key == "name" else f"diffusion.{key}": value
            for key, value in self.identity.items()
        }

    def load_autoencoder(self, device: torch.device | None = None) -> FrozenAutoencoder:
        """Load the autoencoder, in float32."""
        autoencoder = load_autoencoder(str(self.path), self.identity["revision"], device)
        return replace(
            autoencoder,
            identity=autoencoder.identity
            | {"name": self.identity["name"], "revision": self.identity["revision"]},
        )

    def load_text(self, device: torch.device | None = None) -> "FrozenText":
        """Load tokenizer and text encoder, in float32."""
        from transformers import CLIPTextModel, CLIPTokenizer  # takes seconds
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        with loading(f"{self.path}: tokenizer and text_encoder", _REMEDY):
            tokenizer = CLIPTokenizer.from_pretrained(
                self.path / "tokenizer", local_files_only=True
            )
            network = CLIPTextModel.from_pretrained(
                self.path / "text_encoder",
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
            )
        return FrozenText(
            tokenizer, network.requires_grad_(False).eval().to(device or pick_device())
        )

    def load_unet(self, device: torch.device, dtype: torch.dtype) -> "UNet2DConditionModel":
        """Load the denoising network."""
        from diffusers import UNet2DConditionModel  # takes seconds

        with loading(f"{self.path}: unet", _REMEDY):
            network = UNet2DConditionModel.from_pretrained(
                self.path / "unet", torch_dtype=dtype, use_safetensors=True, local_files_only=True
            )
        return network.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)

    def load_scheduler(self) -> "DDIMScheduler":
        """Return DDIM on the noise schedule that the network was trained with."""
        from diffusers import DDIMScheduler  # takes seconds

        config = _read_config(self.path / "scheduler" / "scheduler_config.json")
        # Settings of the original sampler, whatever sampler the folder was saved with.
        with loading(f"{self.path}: scheduler", _REMEDY):
            return DDIMScheduler.from_config(
                config,
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
                timestep_spacing="leading",
            )


@dataclass(frozen=True)
class FrozenText:
    """A tokenizer and a text encoder without trainable weights."""

    tokenizer: Any
    network: Any

    @torch.no_grad()
    def embed(self, texts: list[str]) -> torch.Tensor:
        """Embed texts, cut or padded to 77 tokens, shape (n, 77, 768), float32: the last hidden
        states after the final norm.
        """
        tokens = self.tokenizer(
            texts,
            padding="max_length",
            max_length=PROMPT_SHAPE[0],
            truncation=True,
            return_tensors="pt",
        ).input_ids
        hidden: torch.Tensor = self.network(tokens.to(self.network.device)).last_hidden_state
        return hidden.float().cpu()

    def n_too_long(self, texts: list[str]) -> int:
        """Return how many texts have more than 77 tokens, including start and end tokens."""
        return sum(len(tokens) > PROMPT_SHAPE[0] for tokens in self.tokenizer(texts).input_ids)


def open_diffusion(source: str, revision: str) -> DiffusionFolder:
    """Find Stable Diffusion and check its geometry, without loading it.

    Parameters
    ----------
    source : str
        A folder in diffusers' layout, or a Hugging Face id.
    revision : str
        Branch, tag or commit on the hub; ignored for a folder.

    Raises
    ------
    UnavailableError
        If it is neither a folder nor on a reachable hub.
    FormatError
        If parts are missing, or it is not a Stable Diffusion 1.x.
    """
    is_folder = where_it_is(source).is_dir()
    patterns = [f"{part}/{name}" for part, names in _PARTS.items() for name in names]
    path = (
        where_it_is(source)
        if is_folder
        else download(
            source, revision, patterns, setting="diffusion.source", example="a folder that holds it"
        )
    )
    required = [
        f"{part}/{name}"
        for part, names in _PARTS.items()
        for name in names
        if name not in _OPTIONAL
    ]
    if absent := [name for name in required if not (path / name).exists()]:
        raise FormatError(
            f"diffusion.source {source}: {absent[0]} is missing ({len(absent)} files missing in "
            "all); name another source in params.yaml"
        )
    for name in required:
        if not (path / name).is_file():  # to open a pipe would wait for ever
            raise FormatError(f"{path / name}: is no file; complete the folder, or {_REMEDY}")
        if not (path / name).stat().st_size:
            raise FormatError(f"{path / name}: is empty; complete the folder, or {_REMEDY}")
    _check_geometry(path, source)
    hashes = {part: hash_file(path / part / _PARTS[part][1]) for part in _HASHED}
    return DiffusionFolder(
        path, {"name": source, "revision": "folder" if is_folder else revision, **hashes}
    )


def _check_geometry(path: Path, source: str) -> None:
    """Refuse a folder whose configs are not those of Stable Diffusion 1.x."""
    configs = {
        part: _read_config(path / part / names[0])
        for part, names in _PARTS.items()
        if part != "tokenizer"
    }
    expected: dict[str, dict[str, Any]] = {
        "unet": {
            "in_channels": 4,
            "sample_size": PICTURE_CELLS,
            "cross_attention_dim": PROMPT_SHAPE[1],
        },
        "vae": {"latent_channels": 4},
        "text_encoder": {
            "hidden_size": PROMPT_SHAPE[1],
            "max_position_embeddings": PROMPT_SHAPE[0],
        },
        "scheduler": {"prediction_type": "epsilon"},
    }
    # Values that older folders leave out.
    defaults = {
        "prediction_type": "epsilon",
        "latent_channels": 4,
        "max_position_embeddings": PROMPT_SHAPE[0],
    }
    for part, values in expected.items():
        for key, value in values.items():
            if (got := configs[part].get(key, defaults.get(key))) != value:
                raise FormatError(
                    f"diffusion.source {source}: {part} has {key} {got}, expected {value} as in "
                    f"Stable Diffusion 1.x; {_REMEDY}"
                )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not valid JSON ({error}); {_REMEDY}") from error
    if not isinstance(config, dict):
        raise FormatError(f"{path}: expected names and values; {_REMEDY}")
    return config


def open_diffusion_of(about: dict[str, Any], source: str = "") -> DiffusionFolder:
    """Find the Stable Diffusion that an encoder was trained for.

    Parameters
    ----------
    about : dict
        The entry ``about`` of the encoder's config.
    source : str
        A folder or hub id; if empty, the source recorded in training.

    Raises
    ------
    UnavailableError, FormatError
        As `open_diffusion` does.
    MismatchError
        If a part has other weights.
    """
    revision = about["diffusion.revision"]
    diffusion = open_diffusion(
        source or about["diffusion"], "main" if revision == "folder" else revision
    )
    for part in _HASHED:
        check_weights(
            diffusion.identity,
            part,
            diffusion.identity[part],
            expected=about[f"diffusion.{part}"],
            trained_for=about["diffusion"],
        )
    return diffusion
