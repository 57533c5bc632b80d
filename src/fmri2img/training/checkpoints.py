"""Checkpoints of a training: one safetensors file with a JSON description, no pickle."""

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import replacing

logger = logging.getLogger(__name__)


@dataclass
class EpochRecord:
    """Scores of one epoch; for an encoder solved in closed form there is one record."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_pattern_correlation: float


@dataclass
class Progress:
    """Progress of a training; with the tensors, all that a resumed run needs.

    Attributes
    ----------
    epoch, step : int
        Finished epochs, and finished steps of the current one.
    total_steps : int
        Finished steps over all epochs.
    loss_sum : float
        Sum of the losses of the epoch's finished steps.
    best_epoch : int
    best_loss : float
    history : list of EpochRecord
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss_sum: float = 0.0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[EpochRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stores its progress, and which training it belongs to.

    Attributes
    ----------
    path : Path
    owner : str
        Subject, model and voxels, in words: a checkpoint of another owner is refused.
    fingerprint : str
        Digest of settings, code and data: a checkpoint with another one is not used, and training
        starts from the beginning.
    """

    path: Path
    owner: str
    fingerprint: str

    def store(
        self, progress: Progress, parts: dict[str, dict[str, torch.Tensor]], extra: dict[str, Any]
    ) -> None:
        """Write progress and tensors of any shape in one step; ``extra`` is kept as JSON."""
        tensors = {
            f"{part}:{name}": value.detach().cpu().contiguous()
            for part, named in parts.items()
            for name, value in named.items()
        }
        about = {
            "owner": self.owner,
            "fingerprint": self.fingerprint,
            "progress": asdict(progress),
            "extra": extra,
        }
        # One metadata key: with two, safetensors writes them in an order that differs from run to
        # run.
        with replacing(
            self.path
        ) as partial:  # written directly: a copy of all tensors in memory may take gigabytes
            try:
                save_file(tensors, partial, metadata={"training": json.dumps(about)})
            except SafetensorError as error:
                raise OSError(None, f"cannot be written ({error})", str(self.path)) from error

    def resume(self) -> tuple[Progress, dict[str, dict[str, torch.Tensor]], dict[str, Any]] | None:
        """Return what `store` wrote, in the same shapes, or None if there is nothing to resume.

        Raises
        ------
        MismatchError
            If the file belongs to another subject, model or set of voxels.
        FormatError
            If it is not a checkpoint.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["training"])
                if about["owner"] == self.owner and about["fingerprint"] != self.fingerprint:
                    logger.info(
                        "%s was made with other settings or data; training starts from the "
                        "beginning",
                        self.path,
                    )
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError) as error:
            raise FormatError(
                f"{self.path}: not a checkpoint of this project ({error}); delete it, and run the "
                "same command"
            ) from error
        if about["owner"] != self.owner:
            raise MismatchError(
                f"{self.path}: got a checkpoint of {about['owner']}, expected one of {self.owner}; "
                "delete the file to start from the beginning"
            )
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition(":")
            parts.setdefault(part, {})[rest] = value
        values = about["progress"]
        history = [EpochRecord(**record) for record in values.pop("history")]
        return Progress(**values, history=history), parts, about["extra"]

    def remove(self) -> None:
        """Delete the file: the training is done."""
        self.path.unlink(missing_ok=True)
