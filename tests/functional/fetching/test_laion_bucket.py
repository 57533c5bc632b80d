"""What everybody may have of LAION-fMRI, from a bucket in its layout."""

import shutil

import pytest

from datasets import laion
from fmri2img.datasets.laion import laion_paths as paths
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.progress import byte_progress
from fmri2img.provenance.receipts import SIMULATED_NOTICE, Ledger

NAME, SUBJECT = "laion-fmri", "sub01"


@pytest.fixture(scope="module")
def bucket(client, make_bucket, small_laion):
    """Its files, but for the splits, which come with their package."""
    make_bucket(NAME)
    for path in small_laion.rglob("*"):
        key = path.relative_to(small_laion)
        if path.is_file() and key.parts[0] != "splits":
            client.upload_file(str(path), NAME, str(key))
    folder = paths.mask_folder(SUBJECT) / "face"
    surface = f"{folder}/sub-01_hemi-L_space-fsnative_label-FFA-1_mask.label"
    client.put_object(Bucket=NAME, Key=surface, Body=b"no volume")
    return NAME


@pytest.fixture
def dataset(bucket, server, small_laion, tmp_path):
    """Pictures and splits are there, as their package brings them."""
    for path in (paths.STIMULI, paths.split("tau", SUBJECT)):
        (tmp_path / path).parent.mkdir(parents=True)
        shutil.copy(small_laion / path, tmp_path / path)
    shutil.copy(small_laion / SIMULATED_NOTICE, tmp_path)
    s3 = {"bucket": bucket, "region": "us-east-2", "endpoint_url": server, "part_mib": 1}
    return laion(tmp_path, source="s3", s3=s3)


def fetch(dataset, name):
    return dataset.fetch_files(name, Ledger(None), watch=byte_progress)


def test_bucket_and_copy_give_the_same_receipts(dataset, small_laion):
    copy = laion(small_laion)
    for name in ("shared", SUBJECT):
        assert fetch(dataset, name) == fetch(copy, name)
    assert not list(dataset.setting.root.rglob("*.label"))
    lines = dataset.preview_fetch(SUBJECT)
    assert lines[-1].split()[0] == "11"  # four of sessions, four masks, two maps, the notice
    assert lines[-1].endswith("sub01, total")


def test_what_only_their_package_brings_is_named(dataset):
    (dataset.setting.root / paths.STIMULI).unlink()
    with pytest.raises(MissingDataError, match=r"task-images_stimuli\.h5 not found, and no bucket"):
        fetch(dataset, "shared")
    (dataset.setting.root / paths.split("tau", SUBJECT)).unlink()
    with pytest.raises(MissingDataError, match=r"splits/sub-01/tau\.json not found, and no bucket"):
        fetch(dataset, SUBJECT)
    assert not (dataset.setting.root / "derivatives").exists()  # told before anything is fetched


def test_a_session_that_is_not_there(dataset, bucket, server):
    chosen = dataset.settings.model_copy(update={"sessions": [1, 7]})
    other = type(dataset)(chosen, dataset.setting)
    with pytest.raises(MissingDataError, match="no betas of sub01, session 7; name sessions"):
        fetch(other, SUBJECT)


def test_measured_files_do_not_come_among_simulated_ones(dataset, client, bucket):
    client.delete_object(Bucket=bucket, Key=str(SIMULATED_NOTICE))
    with pytest.raises(ConfigError, match="holds simulated files"):
        fetch(dataset, SUBJECT)
