"""What a manuscript has to state."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fmri2img.evaluation.metrics.catalogue import all_metrics, headline_metrics
from fmri2img.evaluation.metrics.declaration import Metric
from fmri2img.evaluation.table_rows import MODEL


@dataclass(frozen=True)
class Participant:
    """One subject's data.

    Attributes
    ----------
    subject : str
    regions : dict of str to int
        Number of voxels by region, in the order of the file.
    n_sessions, n_trials, n_images : int
    n_train, n_validation, n_test : int
        Images of each part of the split.
    split : str
        Kind of the split: ``shared`` or ``random``.
    shown : dict of int to int
        How many test images were shown how often.
    provenance : dict
        Of the voxel file.
    """

    subject: str
    regions: dict[str, int]
    n_sessions: int
    n_trials: int
    n_images: int
    n_train: int
    n_validation: int
    n_test: int
    split: str
    shown: dict[int, int]
    provenance: dict[str, Any]

    @property
    def n_voxels(self) -> int:
        """Voxels of all regions."""
        return sum(self.regions.values())


@dataclass(frozen=True)
class Encoder:
    """One encoder and its scores.

    Attributes
    ----------
    subject, model : str
    is_champion : bool
    means : dict of str to dict of str to float
        Row to metric to mean over test images.
    intervals : dict of str to tuple of float
        95 % intervals over images of the encoder's own row, by metric.
    against_reference : dict of str to str
        By metric: better, worse, or no difference shown; empty for ridge itself.
    n_images : int
        Test images.
    settings : dict
        Of its training.
    latent_shape : tuple of int
        (channels, h, w) of the autoencoder's latents.
    about : dict
        What its scores depend on, from its metrics file.
    """

    subject: str
    model: str
    is_champion: bool
    means: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    against_reference: dict[str, str]
    n_images: int
    settings: dict[str, Any]
    latent_shape: tuple[int, ...]
    about: dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """All that a manuscript states.

    Attributes
    ----------
    participants : tuple of Participant
    encoders : tuple of Encoder
        Subject by subject, in the order of the comparison.
    differences : tuple of dict
        Of the comparison: ``subject``, ``models``, ``metric``, ``mean``, ``interval``,
        ``effect``, ``p_holm``.
    family_sizes : dict of str to int
        Tests that Holm's correction took together, all subjects and models of the comparison:
        against ``chance``, and ``differences`` from ridge.
    autoencoder : dict
        That of the latents: ``name``, ``revision`` and ``sha256``.
    findings : tuple of str
        The comparison's verdict in sentences; none where only a part of it is written about.
    """

    participants: tuple[Participant, ...]
    encoders: tuple[Encoder, ...]
    differences: tuple[dict[str, Any], ...]
    family_sizes: dict[str, int]
    autoencoder: dict[str, Any]
    findings: tuple[str, ...] = ()

    @property
    def is_simulated(self) -> bool:
        """Whether any of the data are simulated."""
        return any(one.provenance["data_source"] == "simulated" for one in self.participants)

    @property
    def models(self) -> list[str]:
        """Names of the models, each once."""
        return list(dict.fromkeys(encoder.model for encoder in self.encoders))

    @property
    def metrics(self) -> dict[str, Metric]:
        """Headline scores that any encoder has, by name."""
        return {
            name: metric
            for name, metric in headline_metrics().items()
            if any(name in encoder.means[MODEL] for encoder in self.encoders)
        }

    @property
    def tested(self) -> dict[str, Metric]:
        """Scores in which encoders are compared, by name."""
        known, named = all_metrics(), {item["metric"] for item in self.differences}
        return {name: known[name] for name in known if name in named}

    def of_subject(self, subject: str) -> Iterator[Encoder]:
        """Yield the encoders of a subject."""
        return (encoder for encoder in self.encoders if encoder.subject == subject)
