"""The only package that names pretrained networks, their revisions and their hashes: the frozen
autoencoder, Stable Diffusion, and the networks that score.
"""

import importlib.util
import sys

import torch


def _make_torchvision_importable() -> None:
    """Make torchvision importable with a torch that its operators were not built for: diffusers and
    transformers import it wherever it is installed.

    No network of this project uses its operators, but the import fails where two of them are
    unknown.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}",
                "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            )


if importlib.util.find_spec("torchvision") is not None:
    _make_torchvision_importable()
