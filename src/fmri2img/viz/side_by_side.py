"""One page of test images with every encoder's reconstruction of each, subject by subject.

The pictures lie beside the page, one file for each subject and image, and are loaded as they come
into view: with many subjects and encoders they would not fit into a page.
"""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fmri2img.evaluation.metrics.catalogue import CHAMPION_METRIC, title_of
from fmri2img.project.layout import gallery_path, pictures_folder, side_by_side_path
from fmri2img.viz.rendering import links_from, render

_SEEN, _CEILING = "seen", "autoencoder alone"


@dataclass(frozen=True)
class SubjectPictures:
    """A subject's test images and their reconstructions.

    Attributes
    ----------
    subject : str
    image_ids : ndarray, shape (n,)
    truth, ceiling : ndarray, shape (n, side, side, 3), uint8
    reconstructed : dict of str to ndarray, shape (n, side, side, 3), uint8
        By encoder.
    scores : dict of str to ndarray, shape (n,)
        The champion metric of each image, by encoder; NaN where an encoder has none.
    stated : dict of str to ndarray, shape (n,)
        Error of the latent that the encoder states, RMS; encoders that state none are left out.
    """

    subject: str
    image_ids: np.ndarray
    truth: np.ndarray
    ceiling: np.ndarray
    reconstructed: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    stated: Mapping[str, np.ndarray]

    @property
    def titles(self) -> list[str]:
        """What each picture of a strip is."""
        return [_SEEN, _CEILING, *self.reconstructed]


def picture_strips(pictures: SubjectPictures) -> dict[Path, bytes]:
    """Return one JPEG for each image, all its pictures side by side, by the file's path."""
    columns = [pictures.truth, pictures.ceiling, *pictures.reconstructed.values()]
    strips = {}
    for row, strip in enumerate(np.concatenate(columns, axis=2)):
        buffer = io.BytesIO()
        Image.fromarray(strip).save(buffer, "JPEG", quality=88)
        strips[_strip_path(pictures.subject, row)] = buffer.getvalue()
    return strips


def _strip_path(subject: str, row: int) -> Path:
    # By number: an image's id may be a text that is no name of a file.
    return pictures_folder() / subject / f"{row:05d}.jpg"


def side_by_side_page(subjects: Sequence[SubjectPictures], data_source: str, origin: str) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    subjects : sequence of SubjectPictures
    data_source, origin : str
    """
    models = list(dict.fromkeys(model for one in subjects for model in one.reconstructed))
    images: dict[Any, list[dict]] = {}
    for one in subjects:
        for row, image_id in enumerate(one.image_ids.tolist()):
            images.setdefault(image_id, []).append(_strip(one, row))
    return render(
        "side_by_side.html.jinja",
        data_source=data_source,
        links=links_from(side_by_side_path()),
        origin=origin,
        models=models,
        subjects=[one.subject for one in subjects],
        metric=title_of(CHAMPION_METRIC),
        images=[
            {"image_id": image_id, "strips": strips} for image_id, strips in sorted(images.items())
        ],
    )


def _strip(one: SubjectPictures, row: int) -> dict[str, Any]:
    """Return what the page shows of an image and a subject."""
    here = side_by_side_path().parent
    last = max(1, len(one.titles) - 1)
    tiles = []
    for number, title in enumerate(one.titles):
        tiles.append(
            {
                "title": title,
                "place": round(100 * number / last, 4),
                "score": _known(one.scores, title, row),
                "stated": _known(one.stated, title, row),
                "link": os.path.relpath(gallery_path(one.subject, title), here)
                if title in one.reconstructed
                else "",
            }
        )
    source = os.path.relpath(_strip_path(one.subject, row), here)
    return {"subject": one.subject, "source": Path(source).as_posix(), "tiles": tiles}


def _known(values: Mapping[str, np.ndarray], title: str, row: int) -> float | None:
    value = float(values[title][row]) if title in values else np.nan
    return None if np.isnan(value) else value
