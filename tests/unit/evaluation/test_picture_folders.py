import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from commands import fmri2img, without_code
from fmri2img.evaluation.picture_folders import evaluate_pictures, join, read_pictures
from fmri2img.evaluation.read_outs import NO_NETWORKS
from fmri2img.project.exceptions import FormatError, MismatchError, MissingDataError

N_IMAGES = 11


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (N_IMAGES, 5, 5, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)


def save(folder, images, names):
    folder.mkdir()
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


def save_file(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def run(*arguments):
    return fmri2img(Path.cwd(), "evaluate", *arguments, check=False)


def test_a_picture_that_unpacks_to_too_much_is_refused(images, tmp_path, monkeypatch):
    folder = save(tmp_path / "seen", images, range(N_IMAGES))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(FormatError, match=r"0\.png"):
        read_pictures(folder)


def test_pictures_are_joined_by_id_and_not_by_name_order(images, tmp_path):
    truth = read_pictures(
        save(tmp_path / "seen", images, range(N_IMAGES))
    )  # "10.png" sorts before "2.png"
    predicted = read_pictures(
        save_file(tmp_path / "made.h5", image_ids=np.arange(N_IMAGES)[::-1], images=images[::-1])
    )
    ids, seen, made = join(truth, predicted, subset=False)
    assert ids == [str(number) for number in range(N_IMAGES)]
    np.testing.assert_array_equal(seen, images)
    np.testing.assert_array_equal(made, images)


def test_perfect_pictures_score_one_and_stand_beside_floors(images):
    document = evaluate_pictures(
        [str(number) for number in range(N_IMAGES)],
        images,
        images,
        NO_NETWORKS,
        n_bootstrap=200,
        n_permutations=99,
    )
    assert all(value == pytest.approx(1, abs=1e-5) for value in document["scores"].values())
    assert document["floor_grey"]["pixcorr"] == 0
    assert document["floor_shuffled"]["pixcorr"] < 0.5
    assert document["p"]["pixcorr"] == 0.01
    assert len(document["images"]["ssim"]) == N_IMAGES


def test_the_verb_prints_a_table_and_writes_json(images, tmp_path):
    save(tmp_path / "seen", images, [f"{number:05d}" for number in range(N_IMAGES)])
    save(tmp_path / "made", images // 2, range(N_IMAGES))
    result = run(tmp_path / "made", tmp_path / "seen", "--to", tmp_path / "scores.json")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("11 images\n")
    assert "SSIM, column-wise, Brain-Diffuser" in result.stdout
    assert re.search(r"^EfficientNet-Lite0 2-way .*0\.\d{3} to ", result.stdout, re.MULTILINE)
    document = json.loads((tmp_path / "scores.json").read_text())
    assert document["about"]["n_images"] == N_IMAGES
    assert list(document["about"]["weights"]) == ["efficientnet-lite0-57934424.pth"]
    assert document["about"]["absent"]["two_way_clip"] == "not asked for"
    assert "two_way_clip" not in document["scores"]
    assert set(document["p"]) == {
        "pixcorr",
        "ssim",
        "pixel_two_way",
        "two_way_effnet_lite0",
        "effnet_lite0_distance",
    }


def test_a_network_that_does_not_exist(tmp_path):
    result = run(tmp_path, tmp_path, "--networks", "resnet")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: --networks: there is no 'resnet'; choose from: effnet_lite0, alexnet"
    )


def test_missing_reconstructions_are_an_error_unless_a_subset_is_asked_for(images, tmp_path):
    save(tmp_path / "seen", images, range(N_IMAGES))
    save(tmp_path / "made", images[:4], range(4))
    result = run(tmp_path / "made", tmp_path / "seen")
    assert result.returncode == 1
    assert without_code(result.stderr) == (
        "error: 7 of 11 images have no reconstruction, first id 10; add them, or leave them out "
        "with --subset\n"
    )
    assert (
        "4 images, 7 without a reconstruction left out"
        in run(tmp_path / "made", tmp_path / "seen", "--subset").stdout
    )


def test_reconstructions_without_truth(images, tmp_path):
    truth, predicted = (
        read_pictures(save(tmp_path / name, images, ids))
        for name, ids in (("a", range(11)), ("b", range(1, 12)))
    )
    with pytest.raises(MismatchError, match="1 of 11 reconstructions have no truth, first id 11"):
        join(truth, predicted, subset=False)
    ids, *sides = join(truth, predicted, subset=True)
    assert ids == [str(number) for number in range(1, 11)]
    assert [len(side) for side in sides] == [10, 10]


def test_a_subset_says_what_it_leaves_out_on_either_side(images, tmp_path):
    save(tmp_path / "seen", images, range(N_IMAGES))
    save(tmp_path / "made", images[:5], [1, 2, 3, 77, 78])
    assert (
        "3 images, 8 without a reconstruction and 2 reconstructions without truth left out"
        in run(tmp_path / "made", tmp_path / "seen", "--subset").stdout
    )
    save(tmp_path / "others", images[:2], [77, 78])
    result = run(tmp_path / "others", tmp_path / "seen", "--subset")
    assert "2 of 2 reconstructions have no truth, first id 77" in result.stderr


def test_one_pair_is_too_few(images, tmp_path):
    one = read_pictures(save(tmp_path / "one", images[:1], ["7"]))
    with pytest.raises(MismatchError, match="got 1 pairs of pictures, expected at least 2"):
        join(one, one, subset=False)


def test_repeated_ids(images, tmp_path):
    with pytest.raises(FormatError, match="id 7 occurs more than once"):
        read_pictures(save(tmp_path / "twice", images[:2], ["7", "007"]))


def test_pictures_of_other_sizes(images, tmp_path):
    folder = save(tmp_path / "mixed", images[:2], "ab")
    Image.fromarray(images[0][:20]).save(folder / "c.png")
    with pytest.raises(FormatError, match=r"c.png: got \(20, 40\) pixels, a.png has \(40, 40\)"):
        read_pictures(folder)
    with pytest.raises(
        FormatError, match=r"got pictures of shape \(20, 40, 3\), expected \(side, side, 3\)"
    ):
        read_pictures(save(tmp_path / "oblong", images[:2, :20], "ab"))


def test_values_that_are_no_picture(images, tmp_path):
    values = images / 255
    values[3, 0, 0, 0] = np.nan
    with pytest.raises(FormatError, match="1 of 11 pictures hold NaN"):
        read_pictures(save_file(tmp_path / "nan.h5", image_ids=np.arange(N_IMAGES), images=values))
    with pytest.raises(FormatError, match="got values from 0 to 255, expected uint8, or 0 to 1"):
        read_pictures(
            save_file(
                tmp_path / "wide.h5",
                image_ids=np.arange(2),
                images=np.stack([images[0] * 0.0, images[0] * 0.0 + 255]),
            )
        )
    with pytest.raises(FormatError, match="no array images among image_ids"):
        read_pictures(save_file(tmp_path / "half.h5", image_ids=np.arange(2)))


def test_what_is_not_there_or_no_picture(tmp_path):
    with pytest.raises(MissingDataError, match="nowhere not found"):
        read_pictures(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="holds no pictures"):
        read_pictures(tmp_path / "empty")
    (tmp_path / "empty/a.png").write_text("no picture")
    with pytest.raises(FormatError, match=r"a\.png: not a readable picture"):
        read_pictures(tmp_path / "empty")


def test_floats_of_0_to_1_are_the_same_pictures(images, tmp_path):
    path = save_file(tmp_path / "float.h5", image_ids=np.arange(N_IMAGES), images=images / 255)
    np.testing.assert_array_equal(read_pictures(path).images, images)


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"image_ids": np.int64(3)}, r"image_ids of shape \(\)"),
        ({"image_ids": np.ones((2, 2), int)}, r"image_ids of shape \(2, 2\)"),
        ({"image_ids": np.array([0.5, 1.5])}, "image_ids of float64, expected whole numbers or"),
        ({"image_ids": np.array([b"\xe9", b"b"])}, r"b'\\xe9' is no text in UTF-8"),
        ({"images": np.zeros((0, 4, 4, 3)), "image_ids": np.zeros(0, int)}, "with n of 1 or more"),
        ({"images": np.zeros((2, 4, 4), np.uint8)}, r"images of shape \(2, 4, 4\)"),
    ],
)
def test_a_file_of_another_form_is_one_line(tmp_path, arrays, line):
    valid = {"image_ids": np.arange(2), "images": np.zeros((2, 4, 4, 3), np.uint8)}
    path = save_file(tmp_path / "made.h5", **valid | arrays)
    with pytest.raises(FormatError, match=rf"made\.h5: .*{line}"):
        read_pictures(path)


def test_only_plain_digits_are_numbers(tmp_path, images):
    path = save_file(
        tmp_path / "made.h5", image_ids=np.array(["\u00b2".encode(), b"007"]), images=images[:2]
    )
    assert list(read_pictures(path).ids) == ["\u00b2", "7"]
