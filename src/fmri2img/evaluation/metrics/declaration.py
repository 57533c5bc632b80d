"""Declarations of metrics, so that tables, pages and runs need not know each one."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fmri2img.evaluation.predictions import Predictions
from fmri2img.evaluation.presets import Preset
from fmri2img.evaluation.read_outs import Networks
from fmri2img.evaluation.table_rows import FLOORS
from fmri2img.project.exceptions import ConfigError

Space = Literal["pictures", "networks", "latents"]
# headline: every table, page, chart and summary; main: the comparison, too; more: the pages of
# one encoder; variant: another recipe for an existing score.
Level = Literal["headline", "main", "more", "variant"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of predictions, one number for each test image unless it says otherwise.

    Attributes
    ----------
    name : str
        Key in files and in MLflow: lower-case letters, digits, underscores.
    title : str
        Heading in tables and figures, without the arrow for direction.
    short : str
        Heading where there is little room; the title if left out.
    unit : str
        What the number is, such as ``correlation``; below the heading on the first page.
    chance : float or str
        Score of a prediction without information: a number, if one follows from the definition,
        else the name of the floor row that stands for it.
    space : str
        What is compared: ``pictures``, their features in ``networks``, or ``latents``. Only
        encoders that predict latents have scores in latents.
    higher_is_better : bool
    level : str
        How widely it is shown: ``headline``, ``main``, ``more`` or ``variant``.
    published : bool
        Whether published tables report it.
    network : str
        Read-out (`read_outs.READ_OUTS`) whose network it needs; empty if it needs none.
    of_each_image : bool
        Whether each image has a score; if not, there are no paired differences and no means over
        subjects.

    Raises
    ------
    ConfigError
        If the name is not valid, or the chance level is missing or names no floor.
    """

    name: str
    title: str
    short: str = ""
    unit: str = ""
    chance: float | str | None = None
    space: Space = "pictures"
    higher_is_better: bool = True
    level: Level = "main"
    published: bool = False
    network: str = ""
    of_each_image: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"metric {self.name!r}: expected a name of lower-case letters, digits and "
                "underscores; rename it, to pixel_error for example"
            )
        is_number = isinstance(self.chance, int | float) and math.isfinite(self.chance)
        if not is_number and self.chance not in FLOORS:
            raise ConfigError(
                f"metric {self.name}: expected a chance level, got {self.chance!r}; give chance= a "
                f"number, or the floor that stands for it: {', '.join(FLOORS)}"
            )

    @property
    def heading(self) -> str:
        """The title, with an arrow where less is better."""
        return self._marked(self.title)

    @property
    def narrow_heading(self) -> str:
        """The short title, with an arrow where less is better."""
        return self._marked(self.short or self.title)

    def _marked(self, title: str) -> str:
        return title if self.higher_is_better else f"{title} ↓"

    def best(self, values: Mapping[str, float]) -> str:
        """Return the key of the best value."""
        return (max if self.higher_is_better else min)(values, key=lambda name: values[name])

    def variant(self, name: str, title: str) -> "Metric":
        """Return the same score by another recipe, shown among the variants only."""
        return replace(self, name=name, title=title, short="", level="variant", published=False)


@dataclass(frozen=True)
class FamilyScores:
    """Scores of several predictions from one family of metrics.

    Attributes
    ----------
    per_image : dict of str to dict of str to ndarray, shape (n,)
        Row to metric to the score of each image.
    means : dict of str to dict of str to float
        Row to metric to one number for all images, for metrics without a score per image.
    tables : dict of str to dict of str to ndarray, shape (n, n)
        Row to metric to the score, higher is better, of each prediction (columns) if each image
        (rows) were the right one; for rows whose chance level is tested.
    """

    per_image: dict[str, dict[str, np.ndarray]]
    means: dict[str, dict[str, float]]
    tables: dict[str, dict[str, np.ndarray]]

    @classmethod
    def of(cls, per_image: dict[str, dict[str, np.ndarray]]) -> "FamilyScores":
        """Build from scores of single images only, each of shape (n,)."""
        return cls(per_image, {}, {})


Score = Callable[[Any, Predictions, Networks, Preset], FamilyScores]


@dataclass(frozen=True)
class Family:
    """Metrics that are computed together, and the function that computes them.

    Attributes
    ----------
    metrics : tuple of Metric
        Metrics in the order in which tables show them.
    score : callable
        Function of truth, predictions, networks and preset that returns `FamilyScores`. Rows
        without the data that a metric compares are left out.
    depends_on_preset : bool
        Whether ``score`` is called once for each recipe of `presets.PRESETS`, or just once.
    place : int
        Rank in tables; families with lower numbers come first.
    """

    metrics: tuple[Metric, ...]
    score: Score
    depends_on_preset: bool = False
    place: int = 10
