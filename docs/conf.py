"""The documentation as a site: ``make docs`` builds it into ``site/``.

The pages stay files that a code host shows. What only a site needs, its menu, is added here while
it is built.
"""

import atexit
import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
# A finished project, for the examples to run in; by default this one, after make demo.
PROJECT = Path(os.environ.get("FMRI2IMG_DOCS_PROJECT", ROOT))
sys.path.insert(0, str(ROOT / "src"))
os.environ.update(HF_HUB_OFFLINE="1", MLFLOW_DISABLE_TELEMETRY="true", MPLBACKEND="Agg")

project = "fmri2img"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
MENU = {
    "Start": [
        "docs/start",
        "docs/installing",
        "docs/real-nsd",
        "docs/own-data",
        "rois/README",
        "docs/laion-fmri",
        "docs/gallery/index",
    ],
    "Use": [
        "docs/sharing",
        "docs/mlflow",
        "docs/decoding",
        "docs/new-person",
        "docs/brain-maps",
        "docs/paper",
        "docs/cluster",
    ],
    "Understand": [
        "docs/metrics",
        "docs/models",
        "docs/takagi",
        "docs/datasets",
        "docs/simulation",
        "docs/stages",
        "docs/reruns",
        "docs/glossary",
    ],
    "When something fails": ["docs/faults", "docs/error-lines"],
    "Project": [
        "docs/design",
        "docs/compares",
        "benchmarks/README",
        "docs/experiments",
        "CONTRIBUTING",
        "docs/api",
        "docs/licences",
        "CHANGELOG",
        "docs/README",
    ],
}
root_doc = "README"
include_patterns = [
    "README.md",
    "docs/*.md",
    "docs/gallery/*",
    "benchmarks/README.md",
    "examples/README.md",
    "rois/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = ["docs/gallery/*.md5", "docs/gallery/*.json", "docs/gallery/*.ipynb"]
myst_heading_anchors = 4
autosummary_generate = False
autodoc_typehints = "none"  # the docstrings have them
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"fmri2img {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_static_path: list[str] = []


def examples_in_project() -> Path:
    """Put the examples among links to the files of the project: each runs in the folder that it
    is in.
    """
    folder = Path(tempfile.mkdtemp(prefix="fmri2img-docs-"))
    atexit.register(shutil.rmtree, folder)
    for name in ("data", "models", "reports", "params.yaml"):
        (folder / name).symlink_to(PROJECT.resolve() / name)
    for path in [*(ROOT / "examples").glob("plot_*.py"), ROOT / "examples/GALLERY_HEADER.txt"]:
        shutil.copy(path, folder)
    return folder


sphinx_gallery_conf = {
    "examples_dirs": str(examples_in_project()),
    "gallery_dirs": "docs/gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,  # the same bytes whenever it is built
    "min_reported_time": 3600,
    "plot_gallery": any((PROJECT / "data/voxels").glob("*.h5")),
}


def add_menu(app: Sphinx, name: str, content: list[str]) -> None:  # noqa: ARG001
    """Append the menu to the first page. The examples' list for a code host is in no menu: the
    gallery is.
    """
    if name == "examples/README":
        content[0] = f"---\norphan: true\n---\n{content[0]}"
    if name == root_doc:
        for caption, pages in MENU.items():
            lines = "\n".join(pages)
            content[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def copy_first_page(app: Sphinx, error: Exception | None) -> None:
    """Let a server find the first page by its usual name."""
    if error is None:
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Connect what is above to Sphinx."""
    app.connect("source-read", add_menu)
    app.connect("build-finished", copy_first_page)
