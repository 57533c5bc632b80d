"""The document of one encoder's scores, ``reports/metrics``, for pages, comparison, registry and
MLflow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fmri2img.evaluation.metrics.catalogue import all_metrics, plain_metrics
from fmri2img.evaluation.predictions import ALL_VOXELS
from fmri2img.evaluation.table_rows import FLOORS, MODEL, ROWS
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import read_json

VERSION = 2  # version 0.1 of this package wrote version 1, without a number
_UPGRADE = "run: fmri2img migrate-project"


@dataclass(frozen=True)
class Score:
    """A score over the test images.

    Attributes
    ----------
    value : float
        Mean over images, or one number for all of them.
    low, high : float or None
        Ends of its 95 % interval over images; None where none is computed.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float]:
        """Return the numbers by name, rounded to 6 digits, without the missing ones."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: round(number, 6) for name, number in numbers.items() if number is not None}


@dataclass(frozen=True)
class Floor:
    """The best score of a prediction that knows nothing of the image.

    Attributes
    ----------
    row : str
        Row with that score, one of `table_rows.FLOORS`.
    value : float
    """

    row: str
    value: float


def floor_of(metric: str, means: Mapping[str, Mapping[str, float]]) -> Floor | None:
    """Return the floor of a metric; None if no floor row has it.

    Parameters
    ----------
    metric : str
    means : mapping of str to mapping of str to float
        Row to metric to mean over images.
    """
    values = {row: means[row][metric] for row in FLOORS if metric in means.get(row, {})}
    if not values:
        return None
    row = all_metrics()[metric].best(values)
    return Floor(row, values[row])


def data_sentence(title: str, terms: str) -> str:
    """Return a dataset's title and terms in sentences; the title alone if there are no terms."""
    return f"{title}. {terms[:1].upper()}{terms[1:]}{'.' if terms else ''}".rstrip()


@dataclass(frozen=True)
class MetricsDocument:
    """All scores of one encoder and of the rows it is compared with.

    Attributes
    ----------
    about : dict
        What the scores depend on: subject, test set, settings, weights and packages.
    rows : dict of str to dict of str to Score
        Row (`table_rows.ROWS`) to metric to score.
    absent : dict of str to str
        Metric to the reason why it was not computed.
    p_values : dict of str to float
        Metric to the permutation p of the encoder; together they are one family of tests.
    latent : dict of str to float
        Numbers that describe the predicted latents as a whole.
    retrieval : dict of str to dict of str to float
        ``raw`` and ``centred`` to retrieval scores in latents.
    repetitions : dict of str to dict of str to float
        Number of averaged repetitions to metric to mean, and to ``n_images``.
    seeds : dict of str to dict
        Metric to ``values``, ``mean`` and ``sd`` over seeds of training.
    brain : dict of str to dict of str to dict of str to float
        Region to row to ``mean``, ``low`` and ``high`` of brain correlation.
    halves : dict of str to dict of str to float
        Scores of decoded z and c, for encoders that decode them.
    samples : dict of str to dict of str to float
        Layer to identification by several pictures per image, for encoders that make several.
    notes : tuple of str
        Sentences that a reader needs to know.
    """

    about: dict[str, Any]
    rows: dict[str, dict[str, Score]]
    absent: dict[str, str] = field(default_factory=dict)
    p_values: dict[str, float] = field(default_factory=dict)
    latent: dict[str, float] = field(default_factory=dict)
    retrieval: dict[str, dict[str, float]] = field(default_factory=dict)
    repetitions: dict[str, dict[str, float]] = field(default_factory=dict)
    seeds: dict[str, dict[str, Any]] = field(default_factory=dict)
    brain: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    halves: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, *, remedy: str) -> Self:
        """Read a document.

        Parameters
        ----------
        path : Path
        remedy : str
            How to make the file, for the error line if it is missing.

        Raises
        ------
        MissingDataError, FormatError
            If there is no such file, or it is not of this version.
        """
        return cls.from_json(read_json(path, remedy=remedy), path)

    @classmethod
    def from_json(cls, document: dict[str, Any], source: Path) -> Self:
        """Build a document from the output of `to_json`; error lines name ``source``."""
        version = document.get("version", 1)
        if version != VERSION:
            remedy = _UPGRADE if version == 1 else "use the version of fmri2img that wrote it"
            raise FormatError(
                f"{source} is a metrics document of version {version}, expected {VERSION}; {remedy}"
            )
        try:
            return cls._of(document)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise FormatError(
                f"{source} is not a complete metrics document ({type(error).__name__}: {error}); "
                "run: dvc repro evaluate"
            ) from error

    @classmethod
    def _of(cls, document: dict[str, Any]) -> Self:
        tests = document["families"]
        return cls(
            about=document["about"],
            rows={
                row: {metric: Score(**numbers) for metric, numbers in scores.items()}
                for row, scores in document["rows"].items()
            },
            p_values=tests["permutation"]["p"] if tests else {},
            samples=document["identification_by_samples"],
            notes=tuple(document["notes"]),
            **{name: document[name] for name in _PLAIN},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the stored form, rounded to 6 digits."""
        families = {
            "permutation": {
                "of": "the encoder's scores, each against random pairings with the images",
                "n": len(self.p_values),
                "p": _rounded(self.p_values),
            }
        }
        return {
            "version": VERSION,
            "about": self.about,
            "notes": list(self.notes),
            "rows": {
                row: {metric: score.to_json() for metric, score in scores.items()}
                for row, scores in self.rows.items()
            },
            "families": families if self.p_values else {},
            "identification_by_samples": _rounded(self.samples),
            **{name: _rounded(getattr(self, name)) for name in _PLAIN},
        }

    @property
    def n_images(self) -> int:
        """Number of test images."""
        return int(self.about["n_test_images"])

    @property
    def origin(self) -> str:
        """The dataset, and who may have its data, in sentences; empty for documents that do not
        say, as those of version 0.2.0.
        """
        title, terms = self.about.get("dataset", ""), self.about.get("terms", "")
        return data_sentence(title, terms) if title else ""

    def means(self, row: str) -> dict[str, float]:
        """Return the scores of a row by metric; nothing if there is no such row."""
        return {metric: score.value for metric, score in self.rows.get(row, {}).items()}

    def floor(self, metric: str) -> Floor | None:
        """Return the floor of a metric, as all tables show it."""
        return floor_of(metric, {row: self.means(row) for row in self.rows})

    def flat(self, regions: dict[str, dict[str, float]]) -> dict[str, float]:
        """Return values by ``section/metric``, their names in MLflow; of intervals it includes
        only the encoder's, of regions only all voxels together.

        Parameters
        ----------
        regions : dict of str to dict of str to float
            The regions of an encoding document.
        """
        sections = {ROWS[row].key: self.means(row) for row in self.rows}
        sections |= {"p": self.p_values, "latent": self.latent}
        sections |= {f"retrieval_{name}": scores for name, scores in self.retrieval.items()}
        sections |= {f"repetitions_{count}": scores for count, scores in self.repetitions.items()}
        sections["seeds_sd"] = {metric: spread["sd"] for metric, spread in self.seeds.items()}
        sections["interval"] = {
            f"{metric}_{end}": getattr(score, end)
            for metric, score in self.rows[MODEL].items()
            for end in ("low", "high")
            if score.low is not None
        }
        sections["floor"] = {
            metric: floor.value
            for metric in plain_metrics()
            if metric in self.rows[MODEL] and (floor := self.floor(metric))
        }
        sections["brain"] = {
            row: values["mean"] for row, values in self.brain.get(ALL_VOXELS, {}).items()
        }
        sections["encoding"] = regions[ALL_VOXELS]
        for name, parts in (("halves", self.halves), ("identification_by_samples", self.samples)):
            sections[name] = {
                f"{part}_{metric}": value
                for part, values in parts.items()
                for metric, value in values.items()
            }
        return {
            f"{section}/{metric}": value
            for section, values in sections.items()
            for metric, value in values.items()
        }


# Fields that are stored under their own names.
_PLAIN = ("absent", "latent", "retrieval", "repetitions", "seeds", "brain", "halves")


def _rounded(values: Any) -> Any:
    """Round every float in nested dictionaries and lists to 6 digits."""
    if isinstance(values, dict):
        return {name: _rounded(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return round(values, 6) if isinstance(values, float) else values
