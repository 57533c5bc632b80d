"""The encoder as MLflow serves it: this file is stored with the model and run when it is loaded."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch

from fmri2img.models.registry import load_encoder

DEFAULT_REPETITIONS = 3  # NSD's number


class ServedEncoder(mlflow.pyfunc.PythonModel):
    """Betas (n, n_voxels) to latents (n, 4, h, w), both float32; the parameter ``repetitions`` says how many trials a row averages."""

    def load_context(self, context: Any) -> None:
        """Rebuild the encoder from weights and config; no pickle is involved."""
        self.encoder, _ = load_encoder(Path(context.artifacts["encoder"]))

    @torch.no_grad()
    def predict(self, context: Any, model_input: np.ndarray, params: dict | None = None) -> np.ndarray:  # noqa: ARG002
        """Return latents in scaled units, shape (n, 4, h, w)."""
        betas = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        repetitions = (params or {}).get("repetitions", DEFAULT_REPETITIONS)
        return self.encoder(betas, torch.full((len(betas),), int(repetitions))).numpy()


mlflow.models.set_model(ServedEncoder())
