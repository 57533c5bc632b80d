"""Settings of version 0.1 and what they are called now, in ``params.yaml`` and ``dvc.lock``."""

import pytest
import yaml

from conftest import REPOSITORY
from fmri2img.migration.dataset_sections import (
    add_anatomy,
    add_ood,
    add_worlds,
    migrate_datasets,
)
from fmri2img.migration.lock import _entry
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.nsd_params import RealNsdParams, SimulatedNsdParams
from fmri2img.project.params_file import load_params

OLD = """\
# Every number a person may tune.

subjects: [subj01]
models: [ridge]

# This machine.
machine:
  nsd_root: /data/nsd   # mine
  n_jobs: -1

# Which responses.
nsd:
  func_space: func1mm
  responses: betas
  beta_version: b2
  beta_format: nii.gz
  sessions: all

fetch_nsd:
  source: {source}
  accept_nsd_terms: true
  rois: [streams]
  s3: {{bucket: nsd, region: us-east-2, endpoint_url: null, part_mib: 16}}
  simulation:
    seed: 7
    volume_scale: 0.36
    n_visual_voxels: 1000
    pictures: scenes
    beta_versions: [b2]
    beta_formats: [nii.gz]
    timeseries: false

# Regions.
convert_roi:
  roi: streams
"""


@pytest.mark.parametrize(
    ("source", "dataset", "real_source"),
    [("simulated", "simulated", "s3"), ("s3", "nsd", "s3"), ("local", "nsd", "local")],
)
def test_sections_become_those_of_datasets(source, dataset, real_source):
    renewed = migrate_datasets(OLD.format(source=source))
    values = yaml.safe_load(renewed)
    assert values["dataset"] == dataset
    simulated = SimulatedNsdParams.model_validate(values["datasets"]["simulated"])
    real = RealNsdParams.model_validate(values["datasets"]["nsd"])
    assert simulated.func_space == real.func_space == "func1mm"
    assert simulated.rois == real.rois == ["streams"]
    assert simulated.simulation.seed == 7
    assert real.source == real_source
    assert values["machine"] == {"raw_root": "/data/nsd", "n_jobs": -1}
    assert not {"nsd", "fetch_nsd"} & set(values)


def test_the_simulation_gets_the_settings_of_worlds_and_keeps_its_remarks():
    text = (
        "subjects: [subj01]\n"
        "datasets:\n"
        "  simulated:\n"
        "    simulation:\n"
        "      seed: 7   # mine\n"
        "      pictures: scenes   # or a folder\n"
        "      timeseries: false\n"
    )
    renewed = add_worlds(text)
    assert "      world: standard\n      deep_share: 0.4\n      timeseries: false\n" in renewed
    assert "# mine" in renewed
    assert "# or a folder" in renewed
    assert add_worlds(renewed) == renewed
    for other in ("", "subjects: [subj01]\n", "datasets: {simulated: {simulation: {seed: 7}}}\n"):
        assert add_worlds(other) == other


def test_the_list_of_further_test_sets_is_added_empty():
    text = "subjects: [subj01]\npopulation: [subj01]   # ours\nmodels:\n  latents: [ridge]\n"
    renewed = add_ood(text)
    assert yaml.safe_load(renewed) == yaml.safe_load(text) | {"ood": []}
    assert "# ours" in renewed
    assert add_ood(renewed) == renewed
    assert add_ood("") == ""


def test_remarks_elsewhere_stay_and_those_of_the_sections_go():
    renewed = migrate_datasets(OLD.format(source="local"))
    for kept in ("# Every number a person may tune.", "# This machine.", "# mine", "# Regions."):
        assert kept in renewed
    assert "# Which responses." not in renewed


def test_it_is_done_once():
    once = migrate_datasets(OLD.format(source="local"))
    assert migrate_datasets(once) == once


def test_a_section_that_lacks_a_key_is_one_line():
    broken = OLD.format(source="local").replace("  rois: [streams]\n", "")
    with pytest.raises(ConfigError, match=r"nsd, fetch_nsd: not as version 0.1 had them \('rois'"):
        migrate_datasets(broken)


CURRENT = yaml.safe_load(migrate_datasets(OLD.format(source="simulated")))
NSD = yaml.safe_load(OLD.format(source="simulated"))["nsd"]
FETCH = yaml.safe_load(OLD.format(source="simulated"))["fetch_nsd"]


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        (
            "fetch_raw@subj01",
            {"nsd": NSD, "fetch_nsd": FETCH},
            {"simulation": FETCH["simulation"]},  # without worlds
        ),
        ("convert_roi@subj01", {"nsd.func_space": "func1pt8mm"}, {"func_space": "func1pt8mm"}),
        ("extract_betas@subj01", {"nsd": NSD | {"sessions": [1]}}, {"sessions": [1]}),
        (
            "fetch_captions@takagi",
            {"fetch_nsd.source": "simulated", "fetch_nsd.simulation": {"seed": 8}},
            {"simulation": {"seed": 8}},
        ),
    ],
)
def test_what_a_stage_ran_with_stays_what_it_was(name, params, expected):
    entry = {
        "cmd": "python -m stages.fetch_nsd --subject subj01",
        "deps": [{"path": "data/fingerprints/convert_roi.txt", "md5": "a", "size": 1}],
        "params": {"params.yaml": params | {"convert_roi": {"roi": "streams"}}},
    }
    renewed = _entry(entry, name, [], CURRENT, {})
    section = CURRENT["datasets"]["simulated"] | expected
    assert renewed["params"]["params.yaml"] == {
        "convert_roi": {"roi": "streams"},
        "datasets.simulated": section,
    }
    assert renewed["cmd"] == "python -m stages.fetch_raw --subject subj01"
    assert renewed["deps"][0]["path"] == "data/fingerprints/convert_roi/simulated.txt"


def test_a_stage_that_read_real_files_is_of_the_dataset_nsd():
    entry = {
        "cmd": "python -m stages.fetch_nsd --subject subj01",
        "params": {"params.yaml": {"nsd": NSD, "fetch_nsd": FETCH | {"source": "local"}}},
    }
    params = _entry(entry, "fetch_raw@subj01", [], CURRENT, {})["params"]["params.yaml"]
    assert params["datasets.nsd"]["source"] == "local"


def test_settings_of_version_0_3_get_the_section_for_maps(tmp_path):
    """Without it, the error says which command adds it."""
    today = (REPOSITORY / "params.yaml").read_text()
    start, end = today.index("collect_anatomy:"), today.index("split_examples:")
    path = tmp_path / "params.yaml"
    path.write_text(today[:start] + today[end:])
    with pytest.raises(ConfigError, match=r"collect_anatomy .* is missing; run: fmri2img migrate-"):
        load_params(path)
    path.write_text(add_anatomy(path.read_text()))
    assert load_params(path) == load_params(REPOSITORY / "params.yaml")
    assert add_anatomy(path.read_text()) == path.read_text()
