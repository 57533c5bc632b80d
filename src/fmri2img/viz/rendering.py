"""What all pages share: templates, pictures inside of the file, and links to the other pages."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from fmri2img.evaluation.inference import p_text
from fmri2img.project.layout import (
    brain_path,
    comparison_path,
    gallery_path,
    overview_path,
    report_path,
    side_by_side_path,
)
from fmri2img.project.version import VERSION


def render(
    template: str,
    *,
    data_source: str,
    links: dict[str, str],
    origin: str = "",
    **values: Any,
) -> str:
    """Return a template of this folder as a page of HTML in one file, which works offline.

    Parameters
    ----------
    template : str
        Extends ``base.html.jinja``.
    data_source : str
        Simulated data have a banner above all else.
    links : dict of str to str
        Title to address (`links_from`).
    origin : str
        The dataset and its terms, in sentences, for the foot of the page.
    values : object
        What the template shows.
    """
    environment = Environment(
        loader=PackageLoader("fmri2img", "viz"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["p_text"] = p_text
    return environment.get_template(template).render(
        data_source=data_source,
        is_simulated=data_source == "simulated",
        links=links,
        origin=origin,
        version=VERSION,
        **values,
    )


def links_from(page: Path, subject: str = "", model: str = "") -> dict[str, str]:
    """Return the addresses of the project's pages, seen from one of them, by title; that of the
    page itself is empty.

    Parameters
    ----------
    page : Path
    subject, model : str
        Whose pages are linked beside those of the project; empty: nobody's.
    """
    pages = {
        "Overview": overview_path(),
        "All scores": comparison_path("html"),
        "All pictures": side_by_side_path(),
    }
    if subject:
        pages[f"{subject}: brain"] = brain_path(subject)
    if model:
        pages |= {
            f"{subject} {model}: scores": report_path(subject, model),
            f"{subject} {model}: pictures": gallery_path(subject, model),
        }
    return {
        title: "" if path == page else Path(os.path.relpath(path, page.parent)).as_posix()
        for title, path in pages.items()
    }


def picture_uri(picture: np.ndarray) -> str:
    """Return a picture, shape (h, w, 3), uint8, as an address that holds all of it."""
    return _uri(picture, "JPEG", quality=88)


def map_uri(shares: np.ndarray) -> str:
    """Return a map of numbers from 0 (dark) to 1 (bright), shape (h, w), in the same way; one pixel
    a cell.
    """
    from matplotlib import colormaps  # takes long to load, and only pages with maps need it

    return _uri(colormaps["viridis"](np.clip(shares, 0, 1), bytes=True)[..., :3], "PNG")


def _uri(picture: np.ndarray, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()
