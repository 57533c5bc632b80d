"""Every example runs in a finished project, and leaves its picture."""

import runpy

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from conftest import REPOSITORY
from miniature import inside

EXAMPLES = sorted((REPOSITORY / "examples").glob("plot_*.py"))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_runs(path, copied, capsys):
    with inside(copied):
        runpy.run_path(str(path), run_name="__main__")
    plt.close("all")
    (picture,) = (copied / "reports/examples").glob(f"{path.stem.split('_', 2)[2]}.png")
    with Image.open(picture) as image:
        assert min(image.size) > 200
    assert capsys.readouterr().out


def test_every_example_is_listed():
    page = (REPOSITORY / "examples/README.md").read_text(encoding="utf-8")
    assert all(f"[{path.name}]({path.name})" in page for path in EXAMPLES)
