"""The encoder as MLflow serves it: this file is stored with the model and run when it is loaded."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from PIL import Image

from fmri2img.models.registry import check_files, load_encoder

_BATCH = 16


class ServedEncoder(mlflow.pyfunc.PythonModel):
    """Betas (n, n_voxels), float32, to latents (n, 4, h, w) or to pictures. An encoder that
    predicts pictures returns those instead of latents, (n, 3, side, side), from -1 to 1.

    Parameters of a request: ``repetitions``, trials that each row averages; ``output``, ``latents``
    or ``png`` (base64, one text a row); ``allow_missing``, whether NaN stands for voxels without
    data.
    """

    def load_context(self, context: Any) -> None:
        """Rebuild the encoder from weights and config, if their bytes are those that were
        logged; no pickle is involved.
        """
        folder = Path(context.artifacts["encoder"])
        check_files(folder, dict(context.model_config["md5"]), str(folder))
        self.encoder, self.config = load_encoder(folder)
        self.autoencoder: Any = None

    @torch.no_grad()
    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: np.ndarray,
        params: dict | None = None,
    ) -> np.ndarray:
        """Return latents in scaled units, shape (n, 4, h, w), float32, or base64 texts of PNG
        files, shape (n,).
        """
        wanted = {
            "repetitions": self.config["about"]["n_repetitions"],
            "output": "latents",
            "allow_missing": False,
        } | (params or {})
        if wanted["output"] not in ("latents", "png"):
            raise _refused(f"output: {wanted['output']!r}; expected latents or png")
        if int(wanted["repetitions"]) < 1:
            raise _refused(
                f"repetitions: {wanted['repetitions']}; expected the number of trials that each "
                "row averages, 1 or more"
            )
        betas = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        bad = torch.isinf(betas) if wanted["allow_missing"] else ~torch.isfinite(betas)
        if bad.any():
            row, voxel = bad.nonzero()[0].tolist()
            raise _refused(
                f"betas: {int(bad.sum())} values are not finite, the first in row {row}, voxel "
                f"{voxel}; expected numbers; "
                "if NaN stands for voxels without data, send the parameter allow_missing: true"
            )
        latents = self.encoder(betas, torch.full((len(betas),), int(wanted["repetitions"]))).numpy()
        return latents if wanted["output"] == "latents" else self._pictures(latents)

    def _pictures(self, latents: np.ndarray) -> np.ndarray:
        # Diffusers takes seconds to load.
        from fmri2img.generation.decode import decode_latents, from_network_range
        from fmri2img.pretrained.autoencoder import load_autoencoder_of

        if self.encoder.kind == "pixels":  # pictures of -1 to 1 already
            decoded = from_network_range(torch.from_numpy(latents))
            return np.array([_png(picture) for picture in decoded], dtype=object)
        if self.autoencoder is None:
            self.autoencoder = load_autoencoder_of(
                self.config["about"], os.environ.get("FMRI2IMG_AUTOENCODER", "")
            )
        pictures = decode_latents(latents, self.autoencoder, batch_size=_BATCH)
        return np.array([_png(picture) for picture in pictures], dtype=object)


def _png(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(ServedEncoder())
