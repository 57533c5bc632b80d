"""A page of truth beside reconstruction: one offline file, sortable by score."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.project.layout import gallery_path
from fmri2img.viz.rendering import links_from, map_uri, picture_uri, render

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
    stated_error : float
        RMS over the latent of the error that the encoder states; NaN where it states none.
    """

    image_id: int | str
    split: str
    truth: np.ndarray
    ceiling: np.ndarray
    reconstruction: np.ndarray
    scores: dict[str, float]
    others: dict[str, np.ndarray] = field(default_factory=dict)
    stated_error: float = float("nan")


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
    stated = reconstructions.latent_sd
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
            stated_error=float("nan")
            if stated is None
            else float(np.sqrt(np.square(stated[row]).mean())),
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
    origin: str = "",
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
    origin : str
        The dataset and its terms.
    """
    shown = [
        {
            "image_id": item.image_id,
            "split": item.split,
            "scores": item.scores,
            "stated_error": None if np.isnan(item.stated_error) else item.stated_error,
            "pictures": {
                "seen": picture_uri(item.truth),
                "reconstructed": picture_uri(item.reconstruction),
                "autoencoder alone": picture_uri(item.ceiling),
                **{title: picture_uri(picture) for title, picture in item.others.items()},
            },
        }
        for item in items
    ]
    return render(
        "gallery.html.jinja",
        data_source=data_source,
        links=links_from(gallery_path(subject, model), subject, model),
        origin=origin,
        items=shown,
        subject=subject,
        model=model,
        facts=facts,
        score_titles=list(items[0].scores),
        unsure=[
            {"title": one.title, "mean": one.shares.mean(), "picture": map_uri(one.shares)}
            for one in unsure
        ],
        scale_uri=map_uri(np.tile(np.linspace(0, 1, 64), (2, 1))),
    )
