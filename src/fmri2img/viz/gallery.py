"""A page of truth beside reconstruction: one offline file, sortable by score."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image

from fmri2img.containers.reconstructions import Reconstructions

_VARIANT_TITLES = ("from z alone", "from c alone")  # in the order of `containers.VARIANTS`


@dataclass(frozen=True)
class GalleryItem:
    """One picture.

    Attributes
    ----------
    image_id : int or str
    split : str
        ``test`` or ``train``.
    truth, ceiling, reconstruction : ndarray, shape (side, side, 3), uint8
    scores : dict of str to float
        Scores by title.
    others : dict of str to ndarray, shape (side, side, 3), uint8
        Further pictures by title.
    """

    image_id: int | str
    split: str
    truth: np.ndarray
    ceiling: np.ndarray
    reconstruction: np.ndarray
    scores: dict[str, float]
    others: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class UnsureMap:
    """Where an encoder is unsure.

    Attributes
    ----------
    title : str
        Name of the pictures that the map describes.
    shares : ndarray, shape (h, w)
        Result of `generation.reconstruct.unsure_places`; 1 where the encoder knows nothing.
    """

    title: str
    shares: np.ndarray


def gallery_items(
    reconstructions: Reconstructions, truth: np.ndarray, scores: dict[str, np.ndarray]
) -> list[GalleryItem]:
    """Put each reconstruction beside its truth, (n, side, side, 3), uint8, with its scores by
    title, each of shape (n,).
    """
    variants = reconstructions.variant_images
    others = dict(zip(_VARIANT_TITLES, () if variants is None else variants, strict=False))
    tests = {row: number for number, row in enumerate(reconstructions.rows("test").tolist())}
    return [
        GalleryItem(
            image_id=image_id.item(),
            split=reconstructions.split[row].decode(),
            truth=truth[row],
            ceiling=reconstructions.ceiling[row],
            reconstruction=reconstructions.images[row],
            scores={title: float(values[row]) for title, values in scores.items()},
            others={
                title: pictures[tests[row]] for title, pictures in others.items() if row in tests
            },
        )
        for row, image_id in enumerate(reconstructions.image_ids)
    ]


def gallery_page(
    items: list[GalleryItem],
    *,
    subject: str,
    model: str,
    data_source: str,
    facts: dict[str, str],
    unsure: Sequence[UnsureMap] = (),
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    items : list of GalleryItem
        Shown in this order until the reader sorts them.
    subject, model, data_source : str
    facts : dict of str to str
        Shown below the title.
    unsure : sequence of UnsureMap
        Shown above the pictures.
    """
    template = files("fmri2img.viz").joinpath("gallery.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    shown = [
        {
            "image_id": item.image_id,
            "split": item.split,
            "scores": item.scores,
            "pictures": {
                "seen": _data_uri(item.truth),
                "reconstructed": _data_uri(item.reconstruction),
                "autoencoder alone": _data_uri(item.ceiling),
                **{title: _data_uri(picture) for title, picture in item.others.items()},
            },
        }
        for item in items
    ]
    return environment.from_string(template).render(
        items=shown,
        subject=subject,
        model=model,
        data_source=data_source,
        facts=facts,
        score_titles=list(items[0].scores),
        unsure=[
            {"title": one.title, "mean": one.shares.mean(), "picture": _map_uri(one.shares)}
            for one in unsure
        ],
        scale_uri=_map_uri(np.tile(np.linspace(0, 1, 64), (2, 1))),
    )


def _map_uri(shares: np.ndarray) -> str:
    """Return a map of numbers from 0 (dark) to 1 (bright) as a picture, one pixel per cell."""
    from matplotlib import colormaps  # takes long to load, and only pages with maps need it

    buffer = io.BytesIO()
    Image.fromarray(colormaps["viridis"](np.clip(shares, 0, 1), bytes=True)[..., :3]).save(
        buffer, "PNG"
    )
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _data_uri(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
