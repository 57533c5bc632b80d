"""The rows of every table of scores: their predictions, kinds and titles.

A *floor* is a prediction that knows nothing of the image; the floor of a score is the best
that any of them reaches. A *ceiling* is the limit set by the pictures' size or the autoencoder.
*References* use test trials but are not the encoder: ridge, and the training image nearest to the
prediction.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["prediction", "floor", "reference", "ceiling"]


@dataclass(frozen=True)
class Row:
    """One row of the tables.

    Attributes
    ----------
    name : str
    kind : str
        ``prediction``, ``floor``, ``reference`` or ``ceiling``.
    title : str
        Name of the row in tables.
    key : str
        Prefix of its scores' names in MLflow.
    of_subject : bool
        Whether it is the same for all encoders of a subject.
    """

    name: str
    kind: Kind
    title: str
    key: str
    of_subject: bool = False

    @property
    def has_intervals(self) -> bool:
        """Whether pages show its intervals, as for predictions from a person's responses."""
        return self.kind == "prediction" or self.name == REFERENCE


MODEL = "model"  # the encoder that a document is about
REFERENCE = "ridge"  # the encoder that all others are compared with
SHUFFLED = "shuffled"
CEILING = "vae_ceiling"
NEAREST = "nearest_train"
BRAIN_CORRELATION = "brain_correlation"  # column of `brain.image_correlations` in tables of images
# In the order of tables.
ROWS = {
    row.name: row
    for row in (
        Row(MODEL, "prediction", "encoder", "test"),
        Row("z_only", "prediction", "from z alone", "z_only"),
        Row("c_only", "prediction", "from c alone", "c_only"),
        Row("single_trial", "prediction", "from a single trial", "single_trial"),
        Row(REFERENCE, "reference", "reference: ridge", "reference_ridge"),
        Row("grey", "floor", "floor: grey", "floor_grey", of_subject=True),
        Row("train_mean", "floor", "floor: mean picture", "floor_train_mean", of_subject=True),
        Row(
            "mean_latent",
            "floor",
            "floor: mean latent, decoded",
            "floor_mean_latent",
            of_subject=True,
        ),
        Row(SHUFFLED, "floor", "floor: shuffled", "floor_shuffled"),
        Row(
            NEAREST,
            "reference",
            "retrieval: nearest training image",
            "nearest_train",
        ),
        Row(CEILING, "ceiling", "ceiling: autoencoder alone", "ceiling", of_subject=True),
        Row(
            "resize_ceiling",
            "ceiling",
            "ceiling: size of pictures alone",
            "ceiling_resize",
            of_subject=True,
        ),
    )
}
FLOORS = tuple(row.name for row in ROWS.values() if row.kind == "floor")
SUBJECT_ROWS = tuple(row.name for row in ROWS.values() if row.of_subject)
