"""One encoder in comparisons: its numbers, on the test images and on further test sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from fmri2img.evaluation.metrics.catalogue import CHAMPION_METRIC
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.table_rows import MODEL, REFERENCE, ROWS


@dataclass(frozen=True)
class ComparedRun:
    """One subject and model.

    Attributes
    ----------
    subject, model : str
    n_images : int
        Number of test images.
    means : dict
        Row to metric to value, as in the metrics file.
    intervals : dict
        Metric to 95 % interval.
    p_values : dict
        Metric to permutation p, Holm-corrected over the whole comparison.
    validation : float
        Pattern correlation on validation images, which chooses the champion.
    is_champion : bool
    against_reference : dict
        Metric to ``better``, ``worse`` or `verdict.TIE`, beside ridge; nothing for ridge itself.
    pictures : ndarray, shape (n, side, side, 3), uint8
        Reconstructions of the test images shown.
    ood : dict of str to MetricsDocument
        Further test set to the scores on it.
    """

    subject: str
    model: str
    n_images: int
    means: dict
    intervals: dict
    p_values: dict
    validation: float
    is_champion: bool
    against_reference: dict
    pictures: np.ndarray
    ood: Mapping[str, MetricsDocument] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        subject: str,
        model: str,
        document: MetricsDocument,
        p_values: dict,
        validation: float,
        is_champion: bool,
        against_reference: dict,
        pictures: np.ndarray,
    ) -> Self:
        """Build from a metrics document (``reports/metrics``) and pictures, shape (n, side, side,
        3).
        """
        means, intervals = _numbers(document)
        return cls(
            subject,
            model,
            document.n_images,
            means,
            intervals,
            p_values,
            validation,
            is_champion,
            against_reference,
            pictures,
        )

    def on(self, test: str) -> Self:
        """Return the same encoder's scores on a further test set, where it is compared with no
        other.
        """
        means, intervals = _numbers(self.ood[test])
        return replace(
            self,
            n_images=self.ood[test].n_images,
            means=means,
            intervals=intervals,
            p_values={},
            against_reference={},
            ood={},
        )

    def summary(self) -> dict:
        """Return the numbers of this run for ``comparison.json``."""
        summary = {
            "means": self.means,
            "interval": self.intervals,
            "p_holm": self.p_values,
            f"validation_{CHAMPION_METRIC}": self.validation,
            f"against_{REFERENCE}": self.against_reference,
            "champion": self.is_champion,
            "n_test_images": self.n_images,
        }
        if not self.ood:
            return summary
        others = {test: self.on(test) for test in self.ood}
        return summary | {
            "ood": {
                test: {
                    "means": other.means,
                    "interval": other.intervals,
                    "n_test_images": other.n_images,
                }
                for test, other in others.items()
            }
        }


def _numbers(document: MetricsDocument) -> tuple[dict, dict]:
    """Return means by row and metric, and the encoder's intervals by metric."""
    means = {row: document.means(row) for row in ROWS if row in document.rows}
    means.pop(REFERENCE, None)
    intervals = {
        metric: [score.low, score.high]
        for metric, score in document.rows[MODEL].items()
        if score.low is not None
    }
    return means, intervals
