"""The pipeline's files of a subject, each opened on request.

Every file has one remedy, the stage that makes it, which is named only here.
"""

import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fmri2img.containers.anatomy import Anatomy
from fmri2img.containers.encoding_model import EncodingModel
from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.splits import Split
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.evaluation.metrics.catalogue import CHAMPION_SCORE, VALIDATION_LOSS
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.features.prior import pool_pictures
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import Kinds, read_json, read_text
from fmri2img.project.layout import (
    alignment_path,
    anatomy_path,
    captions_path,
    encoding_model_path,
    encoding_scores_path,
    examples_path,
    latents_path,
    metrics_path,
    ood_metrics_path,
    ood_path,
    ood_pictures_path,
    prior_path,
    reconstructions_path,
    references_path,
    roi_table_path,
    scores_path,
    split_path,
    targets_path,
    training_path,
    truth_path,
    voxel_priors_path,
    voxels_path,
)

if TYPE_CHECKING:
    import pandas as pd

_Json = dict[str, Any]
_Document = TypeVar("_Document")


@dataclass(frozen=True)
class SubjectData:
    """The files of one subject.

    Attributes
    ----------
    subject : str
    """

    subject: str

    def region(self) -> _Json:
        """Return the region's labels with their names, and where it was drawn."""
        path = roi_table_path(self.subject)
        fields: dict[str, Kinds] = {"roi": (str, list), "names": dict}
        return read_json(path, remedy=self._remedy("convert_roi"), fields=fields)

    def trial_betas(self, *, on_disk: Collection[str] = ()) -> TrialBetas:
        """Open the betas, trial by trial; arrays ``on_disk`` are read as they are indexed."""
        path = voxels_path(self.subject)
        return TrialBetas.open(
            path,
            remedy=self._remedy("extract_betas"),
            on_disk=on_disk,
            subject=self.subject,
        )

    def examples(self, *, on_disk: Collection[str] = ()) -> Examples:
        """Open pictures and betas; arrays ``on_disk`` are read as they are indexed."""
        path = examples_path(self.subject)
        return Examples.open(
            path,
            remedy=self._remedy("create_examples"),
            on_disk=on_disk,
            subject=self.subject,
        )

    def anatomy(self) -> Anatomy:
        """Open what maps of the voxels are drawn over."""
        path = anatomy_path(self.subject)
        return Anatomy.open(path, remedy=self._remedy("collect_anatomy"), subject=self.subject)

    def split(self) -> Split:
        """Open the division of images into training, validation and test."""
        return Split.open(split_path(self.subject), remedy=self._remedy("split_examples"))

    def ood(self, test: str) -> Examples:
        """Open trials and pictures of a further test set."""
        path, remedy = ood_path(self.subject, test), f"{self._remedy('read_ood')}-{test}"
        return Examples.open(path, remedy=remedy, subject=self.subject)

    def ood_pictures(self, test: str) -> TruePictures:
        """Open the pictures of a further test set at the dataset's own size."""
        remedy = f"{self._remedy('read_ood')}-{test}"
        return TruePictures.open(ood_pictures_path(self.subject, test), remedy=remedy)

    def latents(self) -> Latents:
        """Open the latents of all pictures."""
        return Latents.open(latents_path(self.subject), remedy=self._remedy("encode_latents"))

    def alignment(self) -> _Json:
        """Return whether trials, pictures and volumes belong together: ``fault`` is empty if they
        do.
        """
        path, remedy = alignment_path(self.subject), self._remedy("check_alignment")
        document = read_json(path, remedy=remedy, fields={"subject": str, "fault": str})
        return _owned(document, document, path, self.subject, remedy)

    def truth(self) -> TruePictures:
        """Open the test images at the dataset's own size."""
        return TruePictures.open(truth_path(self.subject), remedy=self._remedy("collect_truth"))

    def prior(self) -> Latents:
        """Open the latents of pictures that are no test images; the subject is of the
        population.
        """
        return Latents.open(prior_path(self.subject), remedy=self._remedy("collect_prior"))

    def encoding_model(self) -> EncodingModel:
        """Open the linear model from latents to voxels."""
        path = encoding_model_path(self.subject)
        return EncodingModel.open(
            path, remedy=self._remedy("fit_encoding_model"), subject=self.subject
        )

    def encoding_scores(self) -> _Json:
        """Return the scores of the encoding model for each region."""
        path = encoding_scores_path(self.subject)
        remedy = self._remedy("fit_encoding_model")
        document = read_json(path, remedy=remedy, fields={"about": dict, "regions": dict})
        return _owned(document, document["about"], path, self.subject, remedy)

    def references(self) -> MetricsDocument:
        """Return the scores of floors, ceilings and ridge."""
        path, remedy = references_path(self.subject), self._remedy("score_references")
        document = MetricsDocument.read(path, remedy=remedy)
        return _owned(document, document.about, path, self.subject, remedy)

    def encoder(self, model: str) -> "EncoderData":
        """Return the files of one of the subject's encoders."""
        return EncoderData(self.subject, model)

    def _remedy(self, stage: str) -> str:
        return f"dvc repro {stage}@{self.subject}"


@dataclass(frozen=True)
class EncoderData:
    """The files of one encoder of one subject.

    Attributes
    ----------
    subject, model : str
    """

    subject: str
    model: str

    @property
    def name(self) -> str:
        """Name in tables and documents, such as ``subj01/ridge``."""
        return f"{self.subject}/{self.model}"

    def targets(self) -> DiffusionTargets:
        """Open the model's z latents and text embeddings from Stable Diffusion."""
        path = targets_path(self.subject, self.model)
        remedy = f"dvc repro make_targets@{self.subject}-{self.model}"
        return DiffusionTargets.open(path, remedy=remedy)

    def voxel_priors(self) -> VoxelPriors:
        """Open what the model's population learnt from the subject's voxels."""
        path = voxel_priors_path(self.subject, self.model)
        remedy = f"dvc repro learn_population@{self.subject}-{self.model}"
        return VoxelPriors.open(path, remedy=remedy, subject=self.subject)

    def captions(self) -> dict[str, list[str]]:
        """Return the captions of the subject's pictures, by image id."""
        path = captions_path(self.subject, self.model)
        remedy = f"dvc repro fetch_captions@{self.subject}-{self.model}"
        captions = read_json(path, remedy=remedy).get("captions")
        if not isinstance(captions, dict):
            raise FormatError(f"{path}: no captions in it, expected them by image; run: {remedy}")
        return captions

    def training_scores(self) -> dict[str, float]:
        """Return its scores on validation images, and facts about its training."""
        path = training_path(self.subject, self.model)
        fields = dict.fromkeys((CHAMPION_SCORE, VALIDATION_LOSS), float)
        scores: dict[str, float] = read_json(path, remedy=self._remedy("train"), fields=fields)
        return scores

    def scores(self) -> "pd.DataFrame":
        """Return its scores of each test image: ``image_id`` and a column for each metric."""
        import pandas as pd  # takes half a second, and most stages do without

        path, remedy = scores_path(self.subject, self.model), self._remedy("evaluate")
        text = read_text(path, remedy=remedy)
        try:
            table = pd.read_csv(io.StringIO(text))
        except ValueError as error:
            raise FormatError(f"{path}: not a table ({error}); run: {remedy}") from error
        numbers = set(table.select_dtypes("number").columns)
        if "image_id" not in table or set(table.columns) - numbers - {"image_id"}:
            raise FormatError(
                f"{path}: columns {', '.join(map(str, table.columns))[:60]}, expected image_id and "
                f"scores; run: {remedy}"
            )
        return table

    def reconstructions(self, *, on_disk: Collection[str] = ()) -> Reconstructions:
        """Open its reconstructions; arrays ``on_disk`` are read as they are indexed."""
        path = reconstructions_path(self.subject, self.model)
        remedy = self._remedy("predict")
        return Reconstructions.open(path, remedy=remedy, on_disk=on_disk, subject=self.subject)

    def metrics(self) -> MetricsDocument:
        """Return its scores on the test images."""
        path = metrics_path(self.subject, self.model)
        remedy = self._remedy("evaluate")
        document = MetricsDocument.read(path, remedy=remedy)
        return _owned(document, document.about, path, self.subject, remedy)

    def ood_metrics(self, test: str) -> MetricsDocument:
        """Return its scores on a further test set."""
        path = ood_metrics_path(self.subject, self.model, test)
        remedy = f"{self._remedy('evaluate_ood')}-{test}"
        document = MetricsDocument.read(path, remedy=remedy)
        return _owned(document, document.about, path, self.subject, remedy)

    def _remedy(self, stage: str) -> str:
        # Torch takes a second to load, and most stages do without.
        from fmri2img.models.registry import stage_of

        return f"dvc repro {stage_of(stage, self.subject, self.model)}"


def _owned(
    document: _Document, about: dict[str, Any], path: Path, subject: str, remedy: str
) -> _Document:
    """Return a document if it is the subject's."""
    if (owner := about.get("subject", subject)) != subject:
        raise MismatchError(f"{path} belongs to {owner}, expected {subject}; run: {remedy}")
    return document


def open_prior(population: list[str]) -> Latents:
    """Open the latents of the population's pictures, without its test images."""
    return pool_pictures([SubjectData(subject).prior() for subject in population])


def open_population(population: list[str], subject: str, model: str) -> list[VoxelPriors]:
    """Open what a model learnt from the voxels of the population, but for the subject itself."""
    others = (name for name in population if name != subject)
    return [EncoderData(name, model).voxel_priors() for name in others]
