"""How two public code bases bring pictures to a common size before they compare them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


def resize_tensor(images: np.ndarray, size: int, *, antialias: bool = False) -> np.ndarray:
    """Resize pictures bilinearly, as tensors.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, 3), uint8, or float32 of 0 to 1
    size : int
        Side of the result.
    antialias : bool
        Whether shrinking averages over all pixels that map to the same one.

    Returns
    -------
    ndarray, shape (n, size, size, 3), float32
        0 to 1.
    """
    import torch  # late: it takes seconds, and tables that name presets need none

    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    tensor = tensor.float() / 255 if images.dtype == np.uint8 else tensor
    if tensor.shape[2:] != (size, size):
        tensor = torch.nn.functional.interpolate(
            tensor, (size, size), mode="bilinear", antialias=antialias
        )
    return tensor.permute(0, 2, 3, 1).contiguous().numpy()  # (n, size, size, 3)


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Resize as `resize_tensor` does, antialiased, to (n, size, size, 3), a few pictures at a
    time: a thousand at once would take gigabytes.
    """
    return np.concatenate(
        [
            resize_tensor(images[start : start + 32], size, antialias=True)
            for start in range(0, len(images), 32)
        ]
    )


def resize_file(
    images: np.ndarray, size: int, resample: Image.Resampling = Image.Resampling.BICUBIC
) -> np.ndarray:
    """Resize pictures as Pillow does with files, always antialiased, to 8 bits.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, 3), uint8
    size : int
    resample : Resampling

    Returns
    -------
    ndarray, shape (n, size, size, 3), float32
        0 to 1.
    """
    if images.shape[1:3] == (size, size):
        return images.astype(np.float32) / 255
    return (
        np.stack(
            [np.asarray(Image.fromarray(image).resize((size, size), resample)) for image in images]
        ).astype(np.float32)
        / 255
    )


@dataclass(frozen=True)
class Preset:
    """How pictures are brought to a common size before they are compared.

    Attributes
    ----------
    name : str
    common_size : int or None
        Side to which all pictures are resized first, which removes finer detail from the truth;
        None to leave the truth unchanged.
    antialias : bool
    prefix : str
        Start of the names of scores by this recipe; empty for the headline's.
    title : str
        Name of the recipe in their headings.
    """

    name: str
    common_size: int | None
    antialias: bool
    prefix: str = ""
    title: str = ""

    def bring(self, images: np.ndarray, side: int) -> np.ndarray:
        """Bring pictures to the size in which the dataset stores them, for PixCorr and SSIM.

        Parameters
        ----------
        images : ndarray, shape (n, height, width, 3), uint8
        side : int
            Height and width of the true pictures.

        Returns
        -------
        ndarray, shape (n, side, side, 3), float32
        """
        if self.common_size is None:
            return resize_file(images, side)
        return resize_tensor(
            resize_tensor(images, self.common_size, antialias=self.antialias),
            side,
            antialias=self.antialias,
        )


# MindEye1/2: src/Reconstruction_Metrics.py, src/final_evaluations.ipynb. Brain-Diffuser:
# scripts/evaluate_reconstruction.py.
PRESETS = {
    "mindeye": Preset("mindeye", 256, antialias=False),
    "brain_diffuser": Preset(
        "brain_diffuser", None, antialias=True, prefix="brain_diffuser_", title="Brain-Diffuser"
    ),
}


HEADLINE = "mindeye"  # its scores appear in tables; other presets' are variants
