import numpy as np
import pytest

from fmri2img.generation.decode import write_pictures
from fmri2img.project.exceptions import FormatError


@pytest.mark.parametrize("name", ["../escaped", "a/b", "", "..", "x\n"])
def test_pictures_stay_in_their_folder(tmp_path, name):
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(FormatError, match="cannot be the name of a picture; rename the image"):
        write_pictures(pictures, ["fine", name], tmp_path / "out")
    assert not list(tmp_path.rglob("*.png"))
