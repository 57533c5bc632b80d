"""Pictures of maps of voxels, and the page that shows them: slices over the subject's own anatomy,
the template's surface, and a viewer, all in one file that works offline.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure

from fmri2img.project.layout import brain_path
from fmri2img.viz.rendering import links_from, render
from fmri2img.viz.score_figures import figure_uri

_N_SLICES = 7
_HIDDEN = 1e-6  # smaller values are outside of the region
_PALETTES = ("tab20", "tab20b", "tab20c")  # sixty colours
_VIEWS = ("lateral", "posterior", "ventral")


@dataclass(frozen=True)
class VoxelMap:
    """One number of each voxel.

    Attributes
    ----------
    name : str
        Name of its file, without ending.
    title, unit, text : str
        What it is, in words; ``unit`` is empty if it has none.
    values : ndarray, shape (n_voxels,)
        NaN where there is none; labels are int16.
    labels : dict of int to str
        Names of labels; empty for a map of amounts.
    is_signed : bool
        Whether 0 is a value in the middle.
    """

    name: str
    title: str
    unit: str
    text: str
    values: np.ndarray
    labels: Mapping[int, str] = field(default_factory=dict)
    is_signed: bool = False

    @property
    def heading(self) -> str:
        """Title with unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def limit(self) -> float:
        """Largest value of its colours: few voxels are above."""
        known = np.abs(self.values[np.isfinite(self.values)])
        return float(max(np.percentile(known, 98), _HIDDEN)) if len(known) else 1.0


@dataclass(frozen=True)
class MappedVolume:
    """A map as a volume on disk.

    Attributes
    ----------
    map : VoxelMap
    path : Path
        NIfTI.
    left, right : ndarray, shape (n_vertices,), or None
        The same at vertices of fsaverage5, NaN where there is none; None: not known.
    """

    map: VoxelMap
    path: Path
    left: np.ndarray | None = None
    right: np.ndarray | None = None


@dataclass(frozen=True)
class BrainPage:
    """What the page says besides the maps.

    Attributes
    ----------
    subject, data_source, origin : str
    underlay : Path or None
        Volume below the maps.
    underlay_title : str
        What it shows.
    places : ndarray, shape (n_voxels, 3)
        Millimetres, in the space of the volumes.
    about : dict of str to str
        Facts for the head of the page.
    """

    subject: str
    data_source: str
    origin: str
    underlay: Path | None
    underlay_title: str
    places: np.ndarray
    about: dict[str, str]


def brain_page(volumes: Sequence[MappedVolume], content: BrainPage) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    volumes : sequence of MappedVolume
    content : BrainPage
    """
    here = brain_path(content.subject)
    shown = []
    for volume in volumes:
        figures = [figure_uri(_slices(volume, content))]
        if volume.left is not None and volume.right is not None and not volume.map.labels:
            figures.append(figure_uri(_surface(volume)))
        shown.append(
            {
                "map": volume.map,
                "figures": figures,
                "file": volume.path.as_posix(),
                "median": _median(volume.map),
                "legend": _legend(volume.map),
            }
        )
    viewed = next((one for one in volumes if one.map.is_signed), volumes[0])
    return render(
        "brain.html.jinja",
        data_source=content.data_source,
        links=links_from(here, content.subject),
        origin=content.origin,
        subject=content.subject,
        about=content.about,
        underlay=content.underlay_title,
        volumes=shown,
        viewed=viewed.map.heading,
        viewer=_viewer(viewed, content),
        has_surface=any(volume.left is not None for volume in volumes),
    )


def _legend(one: VoxelMap) -> list[tuple[str, str]]:
    """Return the colour and name of each label that a voxel has; nothing for numbers."""
    if not one.labels:
        return []
    colours = _label_colours(one)
    present = [number for number in sorted(one.labels) if (one.values == number).any()]
    return [(to_hex(colours(number - 1)), f"{number} = {one.labels[number]}") for number in present]


def _median(one: VoxelMap) -> str:
    known = one.values[np.isfinite(one.values)] if not one.labels else one.values[:0]
    if not len(known):
        return ""
    return f"median {np.median(known):.3g} over {len(known)} voxels"


def _colours(one: VoxelMap) -> dict[str, Any]:
    """Return nilearn's options for the colours of a map."""
    if one.labels:
        return {"cmap": _label_colours(one), "vmin": 1, "vmax": max(one.labels)}
    low = -one.limit if one.is_signed else 0.0
    return {"cmap": "RdBu_r" if one.is_signed else "inferno", "vmin": low, "vmax": one.limit}


def _label_colours(one: VoxelMap) -> ListedColormap:
    palettes = [matplotlib.colormaps[name] for name in _PALETTES]
    colours = [palette(number) for palette in palettes for number in range(palette.N)]
    return ListedColormap([colours[number % len(colours)] for number in range(max(one.labels))])


def _slices(volume: MappedVolume, content: BrainPage) -> Figure:
    """Draw axial and coronal slices through the voxels."""
    from nilearn.plotting import plot_roi, plot_stat_map  # takes seconds to load

    one, figure = volume.map, plt.figure(figsize=(12, 4.0))
    for row, (axis, number) in enumerate((("z", 2), ("y", 1))):
        first, last = np.quantile(content.places[:, number], (0.04, 0.96)).tolist()
        cuts = np.linspace(first, last, _N_SLICES)
        options: dict[str, Any] = {
            "bg_img": str(content.underlay) if content.underlay else None,
            "display_mode": axis,
            "cut_coords": np.unique(cuts.round(1)).tolist(),
            "figure": figure,
            "axes": (0.0, 0.5 - 0.5 * row, 1.0, 0.5),
            "annotate": row == 0,
            "black_bg": False,
            **_colours(one),
        }
        with _where_nothing_is_known():
            if one.labels:
                plot_roi(str(volume.path), colorbar=False, alpha=0.9, **options)
            else:
                plot_stat_map(str(volume.path), threshold=_HIDDEN, colorbar=row == 0, **options)
    return figure


@contextmanager
def _where_nothing_is_known() -> Iterator[None]:
    """Do without nilearn's warning that it draws nothing where a map has no value."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Non-finite values detected")
        yield


def _surface(volume: MappedVolume) -> Figure:
    """Draw both hemispheres of fsaverage5 from several sides."""
    from nilearn.datasets import load_fsaverage, load_fsaverage_data
    from nilearn.plotting import plot_surf

    mesh = load_fsaverage("fsaverage5")["inflated"].parts
    folds = load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts
    sides = {"left": volume.left, "right": volume.right}
    figure = plt.figure(figsize=(12, 2.2))
    for column, (side, view) in enumerate((side, view) for side in sides for view in _VIEWS):
        axes = figure.add_subplot(1, 2 * len(_VIEWS), column + 1, projection="3d")
        plot_surf(
            mesh[side],
            sides[side],
            hemi=side,
            view=view,
            bg_map=folds[side],
            axes=axes,
            figure=figure,
            colorbar=False,
            **_colours(volume.map),
        )
        axes.set_title(f"{side}, {view}", fontsize=9)
        axes.set_box_aspect(None, zoom=1.4)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.86, wspace=0)
    return figure


def _viewer(volume: MappedVolume, content: BrainPage) -> str:
    """Return a page in which a reader moves through the volume."""
    from nilearn.plotting import view_img

    one = volume.map
    with _where_nothing_is_known():
        viewer = view_img(
            str(volume.path),
            bg_img=str(content.underlay) if content.underlay else False,
            threshold=_HIDDEN,
            symmetric_cmap=one.is_signed,
            cmap=_colours(one)["cmap"],
            vmax=one.limit,
            black_bg=False,
        )
    # Its icon lies on another server, and pages work without a network.
    html = re.sub(r"<link[^>]*>", "", viewer.html)
    # It names its elements at random, and the same data give the same bytes.
    for name in set(re.findall(r"viewer-([0-9a-f]{32})", html)):
        html = html.replace(name, "slices")
    return html
