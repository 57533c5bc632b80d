"""The frozen autoencoder, its identity and its device."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fmri2img.pretrained.loading import loading
from fmri2img.project.exceptions import FormatError, MismatchError, UnavailableError
from fmri2img.project.files import check_file, hash_file
from fmri2img.project.places import where_it_is

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_CLASSES = ("AutoencoderKL", "AutoencoderTiny")
_LARGEST_FACTOR = 100.0
WEIGHTS = "diffusion_pytorch_model.safetensors"


def pick_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class FrozenAutoencoder:
    """An autoencoder without trainable weights, and what identifies it.

    Attributes
    ----------
    network : AutoencoderKL or AutoencoderTiny
    identity : dict
        ``name``, ``revision``, ``class``, ``sha256`` of the weights, ``scaling_factor``.
    """

    network: Any
    identity: dict

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.network.parameters()).device

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode pictures without sampling.

        Parameters
        ----------
        images : Tensor, shape (n, 3, height, width)
            -1 to 1.

        Returns
        -------
        Tensor, shape (n, 4, height / 8, width / 8)
            Latents in scaled units.
        """
        output = self.network.encode(images)
        latents = output.latent_dist.mode() if hasattr(output, "latent_dist") else output.latents
        return latents * self.identity["scaling_factor"]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents; gradients flow to them, not to the weights.

        Parameters
        ----------
        latents : Tensor, shape (n, 4, h, w)
            Latents in scaled units.

        Returns
        -------
        Tensor, shape (n, 3, 8 h, 8 w)
            About -1 to 1, not clipped.
        """
        return self.network.decode(
            (latents / self.identity["scaling_factor"]).to(self.network.dtype)
        ).sample

    def ready_to_train(
        self, device: torch.device, dtype: torch.dtype, compiled: bool
    ) -> "FrozenAutoencoder":
        """Move the network to a device and a number format for a loss through its decoder.

        Parameters
        ----------
        device : device
        dtype : dtype
            Format of the weights, which are frozen and so need no cast in each step.
        compiled : bool
            Whether torch compiles the decoder.
        """
        self.network.to(device=device, dtype=dtype)
        if compiled:
            self.network.decoder.compile()
        return self


def check_same_autoencoder(made_by: dict, autoencoder: FrozenAutoencoder) -> FrozenAutoencoder:
    """Return the autoencoder if it is the one that made the latents.

    Raises
    ------
    MismatchError
        If its weights differ from those that ``made_by`` names.
    """
    given = autoencoder.identity
    if made_by["sha256"] != given["sha256"]:
        raise MismatchError(
            f"latents were made by autoencoder {made_by['name']} ({made_by['sha256'][:12]}), "
            f"got {given['name']} ({given['sha256'][:12]}); run: dvc repro --force encode_latents"
        )
    return autoencoder


def check_weights(
    identity: dict[str, Any], part: str, sha256: str, *, expected: str, trained_for: str
) -> None:
    """Refuse weights other than those that an encoder was trained for.

    Raises
    ------
    MismatchError
        If the two SHA-256 differ; ``identity`` names the weights found, ``trained_for`` the
        source expected.
    """
    if sha256 != expected:
        raise MismatchError(
            f"{identity['name']}: the weights of {part} have SHA-256 {sha256[:12]}, but the "
            f"encoder was trained for {trained_for} with {expected[:12]}; name that source, or "
            "retrain: dvc repro"
        )


def load_autoencoder_of(about: dict[str, Any], source: str = "") -> FrozenAutoencoder:
    """Load the autoencoder that an encoder was trained for: Stable Diffusion's, if the encoder
    decodes its latents.

    Parameters
    ----------
    about : dict
        The entry ``about`` of the encoder's config.
    source : str
        A folder or hub id; if empty, the source recorded in training.

    Raises
    ------
    UnavailableError
        If it cannot be found.
    FormatError
        If ``about`` does not name it.
    MismatchError
        If its weights differ.
    """
    of, sha256 = (
        ("diffusion", "diffusion.vae")
        if "diffusion" in about
        else ("autoencoder", "autoencoder.sha256")
    )
    if absent := [name for name in (of, f"{of}.revision", sha256) if name not in about]:
        raise FormatError(
            f"the encoder's config.json: about: {absent[0]} is missing; take an encoder that "
            "fmri2img trained"
        )
    revision = about[f"{of}.revision"]
    autoencoder = load_autoencoder(
        source or about[of], "main" if revision == "folder" else revision
    )
    check_weights(
        autoencoder.identity,
        "the autoencoder",
        autoencoder.identity["sha256"],
        expected=about[sha256],
        trained_for=about[of],
    )
    return autoencoder


def load_autoencoder(
    source: str, revision: str, device: torch.device | None = None
) -> FrozenAutoencoder:
    """Load the frozen autoencoder.

    Parameters
    ----------
    source : str
        A folder, or a Hugging Face id; a ``vae`` subfolder is used where there is one.
    revision : str
        Branch, tag or commit on the hub; ignored for a folder.
    device : device, optional

    Returns
    -------
    FrozenAutoencoder

    Raises
    ------
    UnavailableError
        If it is neither a folder nor on a reachable hub.
    FormatError
        If it is not an autoencoder with safetensors weights.
    """
    patterns = [prefix + name for prefix in ("", "vae/") for name in ("config.json", WEIGHTS)]
    folder = where_it_is(source)
    folder = folder if folder.is_dir() else download(source, revision, patterns)
    folder = folder / "vae" if (folder / "vae" / "config.json").exists() else folder
    if not (folder / "config.json").exists() or not (folder / WEIGHTS).exists():
        raise FormatError(
            f"autoencoder.source {source}: expected config.json and {WEIGHTS} "
            f"in {folder}, got {sorted(path.name for path in folder.iterdir())}; name another "
            "source in params.yaml"
        )
    for name in ("config.json", WEIGHTS):
        check_file(folder / name, "name another autoencoder.source in params.yaml")
    remedy = "name another source in params.yaml, or complete the folder"
    with loading(f"autoencoder.source {source}", remedy):
        network = _load(folder, source)
        # Older files rely on the class.
        scaling_factor = float(network.config.scaling_factor)
    if not 0 < scaling_factor < _LARGEST_FACTOR:
        raise FormatError(
            f"autoencoder.source {source}: scaling_factor is {scaling_factor}, expected a positive "
            "number such as 0.18215; correct its config.json"
        )
    network.requires_grad_(False).eval().to(
        device or pick_device(), memory_format=torch.channels_last
    )
    identity = {
        "name": source,
        "revision": "folder" if where_it_is(source).is_dir() else revision,
        "class": type(network).__name__,
        "sha256": hash_file(folder / WEIGHTS),
        "scaling_factor": scaling_factor,
    }
    return FrozenAutoencoder(network, identity)


def _load(folder: Path, source: str) -> Any:
    import diffusers  # takes seconds, and most importers load no autoencoder

    diffusers.utils.logging.set_verbosity_error()
    config = diffusers.AutoencoderKL.load_config(folder)
    kind = config.get("_class_name")
    if kind not in _CLASSES or config.get("latent_channels") != 4:
        raise FormatError(
            f"autoencoder.source {source}: got {kind} with {config.get('latent_channels')} latent "
            "channels, "
            f"expected one of {', '.join(_CLASSES)} with 4; name another source in params.yaml"
        )
    return getattr(diffusers, kind).from_pretrained(
        folder, torch_dtype=torch.float32, use_safetensors=True
    )


def download(
    source: str,
    revision: str,
    patterns: list[str],
    *,
    setting: str = "autoencoder.source",
    example: str = "a folder such as models/demo-vae",
) -> Path:
    """Return the local copy of some files of a Hugging Face repository; ``setting`` is the key that
    names it in ``params.yaml``.

    Raises
    ------
    UnavailableError
        If they cannot be downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = type(error).__name__
        raise UnavailableError(
            f"{setting} {source} (revision {revision}) is neither a local folder nor available "
            f"from the Hugging Face hub ({reason}); check the name and the connection, or set "
            f"{setting} in params.yaml to {example}"
        ) from error
