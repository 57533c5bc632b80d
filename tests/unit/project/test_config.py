import json

import pytest
import yaml

from conftest import REPOSITORY
from fmri2img.datasets.protocol import check_dataset_settings
from fmri2img.models.registry import check_settings, model_names
from fmri2img.pipeline.checks import check_once, check_project
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.layout import ledger_path
from fmri2img.project.params_file import _Loader, load_params


@pytest.fixture
def params_file(tmp_path):
    """Writes a changed copy of the project's params.yaml."""
    text = (REPOSITORY / "params.yaml").read_text()

    def write(old="", new=""):
        assert old in text
        path = tmp_path / "params.yaml"
        path.write_text(text.replace(old, new, 1))
        return path

    return write


def test_shipped_params_are_valid(params_file):
    params = load_params(params_file())
    assert params.subjects == ["subj01", "subj02"]
    assert {name: check_settings(name, params.train[name]) for name in params.models}
    # As its authors train it: a baseline that is trained less flatters the others.
    baseline = params.train["basic_ae"]
    settings = [baseline[name] for name in ("learning_rate", "batch_size", "patience")]
    assert settings == [0.001, 64, 8]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  mapping: nearest",
            "  maping: nearest",
            r"params.yaml, line \d+: convert_roi\.maping: unknown key \(did you mean mapping\?\)",
        ),
        (
            "      seed: 7",
            "      sede: 7\n      seed: 7",
            r"line \d+: datasets.simulated.simulation.sede: unknown key \(did you mean seed\?\); "
            r"valid keys here: seed, volume_scale",
        ),
        (
            "volume_scale: 0.36",
            "volume_scale: large",
            r"datasets.simulated.simulation.volume_scale: got 'large'; input should be a valid "
            r"number",
        ),
        (
            "subjects: [subj01, subj02]",
            "subjects: [subj01, subj02, subj11]",
            r"subjects: simulated Natural Scenes Dataset has no subject 'subj11' \(did you mean "
            r"subj\d+ or subj\d+\?\); choose from: subj01,",
        ),
        (
            "latents: [ridge, bayes]",
            "latents: [ridge, perceptron]",
            r"there is no section train.perceptron; .*choose from: ridge, basic_ae, upscaling_ae, "
            r"low_level, bayes",
        ),
        (
            "image_size: 128",
            "image_size: 130",
            r"create_examples.image_size: got 130; input should be a multiple of 8",
        ),
        (
            "  batch_size: 8",
            "  batch-size: 8",
            r"predict.batch-size: unknown key \(did you mean batch_size\?\); valid keys here: "
            r"n_train_images",
        ),
        (
            "sessions: [1, 2]",
            "sessions: [1, 99]",
            r"line \d+: datasets.simulated.sessions.1: got 99; input should be less than or "
            r"equal to 40",
        ),
        (
            "sessions: [1, 2]",
            "sessions: []",
            r"datasets.simulated.sessions: got \[\]; list should have at least 1 item",
        ),
        (
            "labels: all",
            "labels: [1]",
            r"extract_betas.labels.0: got 1; input should be a valid string",
        ),
        ("volume_scale: 0.36", "volume_scale: 36e-2", r"got '36e-2'; .*write 1.0e-4"),
        ("subjects: [subj01", "subjects: [subj01]]", r"line \d+: not valid YAML"),
        (
            "subjects: [subj01, subj02]",
            "subjects: subj01",
            r"line 4: subjects: got 'subj01'; input should be a valid list",
        ),
        (
            "subjects: [subj01, subj02]",
            "subjects: [subj01, subj01]",
            r"line 4: subjects: subj01 is listed 2 times; list it once",
        ),
        (
            "latents: [ridge, bayes]",
            "latents: [bayes]",
            r"line 7: models.latents: ridge is missing; every table shows it",
        ),
        (
            "population: [subj01, subj02]",
            "population: [subj01, subj03]",
            r"line 5: population: subj03 is not among subjects \(did you mean subj0\d or "
            r"subj0\d\?\); add it there, or remove it from population",
        ),
        (
            "population: [subj01, subj02]",
            "population: [subj01, subj01]",
            r"line 5: population: subj01 is listed 2 times; list it once",
        ),
        (
            "latents: [ridge, bayes]",
            "latents: [ridge, bayse]",
            r"no section train.bayse \(did you mean bayes or basic_ae\?\); add",
        ),
        (
            "    n_folds: 5",
            "    n_fold: 5",
            r"train.ridge.n_fold: unknown key \(did you mean n_folds\?\)",
        ),
        (
            "beta_version: b3",
            "beta_version: b2",
            r"line \d+: datasets.simulated: beta_version: b2 is not simulated; add it to "
            r"simulation",
        ),
        (
            "responses: betas",
            "responses: timeseries",
            r"datasets.simulated: responses: timeseries are not simulated; set simulation",
        ),
        ("latents: [ridge, bayes]", "latents: [ridge, nets]\n  - x", r"line \d+: not valid YAML"),
    ],
)
def test_faults_are_named_in_one_line(params_file, old, new, message, monkeypatch):
    path = params_file(old, new)
    monkeypatch.chdir(path.parent)
    with pytest.raises(ConfigError, match=message) as caught:
        check_project()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "models:                         #",
            "models: [ridge, default] #",
            r"line 6: models: a list in version 0.1, lists by kind since 0.2; run: fmri2img",
        ),
        (
            "  bayes: &bayes\n",
            "  default: &bayes\n",
            r"line \d+: train.default: called train.bayes_independent now; run: fmri2img",
        ),
        (
            "datasets:\n",
            "nsd:\n  func_space: func1pt8mm\ndatasets:\n",
            r"line \d+: nsd: part of datasets.nsd since 0.2; run: fmri2img migrate-project",
        ),
        (
            "datasets:\n",
            "fetch_nsd:\n  source: simulated\ndatasets:\n",
            r"line \d+: fetch_nsd: part of datasets.simulated since 0.2; run: fmri2img migrate",
        ),
        (
            "  raw_root:",
            "  nsd_root:",
            r"line \d+: machine.nsd_root: called machine.raw_root since version 0.2; run: fmri2img",
        ),
    ],
)
def test_params_with_old_names_say_the_new_ones(params_file, old, new, message):
    path = params_file(old, new)
    if "latents: [" in (text := path.read_text()) and "models: [" in text:
        kinds = ("  latents:", "  population:", "  pixels:", "  diffusion: [")
        lines = text.splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(kinds)))
    with pytest.raises(ConfigError, match=message) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


def test_missing_file_says_where(tmp_path):
    with pytest.raises(MissingDataError, match="run the command in the project's root folder"):
        load_params(tmp_path / "params.yaml")


def test_model_settings_are_checked_by_the_model(params_file):
    values = yaml.safe_load(params_file().read_text())["train"]["ridge"] | {"penalty": 3}
    with pytest.raises(
        ConfigError,
        match=r"train.ridge.penalty: unknown key.*; valid keys here: clip_mads, penalties",
    ):
        check_settings("ridge", values)


def test_unknown_model_lists_the_known_ones():
    with pytest.raises(ConfigError, match="choose from: " + ", ".join(model_names())):
        check_settings("perceptron", {})


def test_sessions_beyond_what_a_subject_did(params_file):
    params = load_params(params_file("sessions: [1, 2]", "sessions: [1, 33]"))
    nsd = check_dataset_settings("simulated", params.datasets)
    with pytest.raises(ConfigError, match=r"sessions names \[33\], but subj03 did 32 sessions"):
        nsd.sessions_of("subj03", 32)


def test_all_sessions_are_those_the_subject_did(params_file):
    params = load_params(params_file("sessions: [1, 2]", "sessions: all"))
    nsd = check_dataset_settings("simulated", params.datasets)
    assert nsd.sessions_of("subj04", 30) == list(range(1, 31))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "source: models/demo-vae",
            "source: models/demo-vea",
            r"autoencoder.source: there is no folder models/demo-vea; name one, or a repo",
        ),
        (
            "network_weights: null",
            "network_weights: no/such",
            r"machine.network_weights: there is no folder no/such; name one, or null",
        ),
        (
            "dataset: simulated ",
            "dataset: nsd ",
            r"datasets.nsd: accept_nsd_terms: got false; read and accept NSD's terms",
        ),
        (
            "  takagi:   ",
            "  tagaki:   ",
            r"train.tagaki: there is no such model \(did you mean takagi\?\); remove the section, "
            r"or add src/fmri2",
        ),
        (
            "  folder:   ",
            "  fodler:   ",
            r"datasets.fodler: there is no such dataset \(did you mean folder\?\); remove the "
            r"section, or add src/fmri2img/datasets/fodler_dataset.py",
        ),
        (
            "dataset: simulated ",
            "dataset: simulatd ",
            r"dataset: there is no dataset 'simulatd' \(did you mean simulated\?\); choose from: "
            r"folder, laion, nsd, simulated",
        ),
        (
            "diffusion: []                 #",
            "diffusion: [takagi]  #",
            r"diffusion.source: there is no folder ./x; name",
        ),
        (
            "latents: [ridge, bayes]",
            "latents: [ridge, upscaling_ae]",
            r"models.latents: upscaling_ae is of the kind pixels; move it to models.pixels",
        ),
    ],
)
def test_what_is_needed_and_not_there_is_told_before_anything_runs(
    params_file, old, new, message, monkeypatch
):
    path = params_file(old, new)
    path.write_text(
        path.read_text().replace("source: CompVis/stable-diffusion-v1-4", "source: ./x")
    )
    monkeypatch.chdir(path.parent)
    (path.parent / "models").mkdir()
    (path.parent / "models/demo-vae").symlink_to(REPOSITORY / "models/demo-vae")
    with pytest.raises(ConfigError, match=message) as caught:
        check_project()
    assert "\n" not in str(caught.value)


def test_shipped_params_pass_the_whole_check_and_are_not_checked_twice(
    monkeypatch, tmp_path, params_file
):
    path = params_file()
    monkeypatch.chdir(path.parent)
    (path.parent / "models").mkdir()
    (path.parent / "models/demo-vae").symlink_to(REPOSITORY / "models/demo-vae")
    check_once()
    monkeypatch.setattr(
        "fmri2img.pipeline.checks.check_project", lambda: pytest.fail("checked again")
    )
    check_once()
    memory = ledger_path("params")
    digests = json.loads(memory.read_text())
    memory.write_text(json.dumps(digests | {"spelling": "a comment in a model"}))
    check_once()
    assert json.loads(memory.read_text()) == digests
    for damaged in ("[]", "{", '{"meaning": 3}'):
        memory.write_text(damaged)
        with pytest.raises(pytest.fail.Exception, match="checked again"):
            check_once()
    memory.write_text(json.dumps(digests))
    path.write_text(path.read_text() + "# a remark\n")
    with pytest.raises(pytest.fail.Exception, match="checked again"):
        check_once()


def test_params_that_are_no_text_or_no_sections(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"subjects: [subj01]\xff\n")
    with pytest.raises(ConfigError, match=r"not UTF-8 text .* save it as UTF-8"):
        load_params(path)
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="got list, expected sections with keys"):
        load_params(path)


def test_the_earlier_name_of_the_variable_is_told_and_not_overlooked(params_file, monkeypatch):
    machine = load_params(params_file("raw_root: data/raw", "raw_root: data/raw")).machine
    monkeypatch.setenv("FMRI2IMG_NSD_ROOT", "/data/nsd")
    with pytest.raises(ConfigError, match=r"FMRI2IMG_NSD_ROOT: .* called FMRI2IMG_RAW_ROOT since"):
        _ = machine.raw_folder
    monkeypatch.setenv("FMRI2IMG_RAW_ROOT", "/data/raw")
    assert str(machine.raw_folder) == "/data/raw"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "      seed: 7",
            "      seed: -1",
            "simulation.seed: got -1; .* greater than or equal to 0",
        ),
        (
            "      seed: 7",
            "      seed: 4294967296",
            "seed: got 4294967296; .* less than 4294967296",
        ),
        ("n_jobs: -1", "n_jobs: 1000000", "machine.n_jobs: got 1000000; .* less than or equal to"),
        ("n_jobs: -1", "n_jobs: -2", "machine.n_jobs: got -2; .* greater than or equal to -1"),
        ("image_size: 128", "image_size: 1000000", "image_size: got 1000000; .* equal to 1024"),
        ("  batch_size: 8", "  batch_size: 1000000000", "predict.batch_size: got 1000000000; "),
        ("raw_root: data/raw", 'raw_root: ""', "machine.raw_root: got ''; "),
        ("volume_scale: 0.36", "volume_scale: .inf", "volume_scale: got inf; .* finite number"),
        (
            "kind: shared",
            "kind: shared\n  kind: random",
            r"line \d+: not valid YAML \(kind is there twice\)",
        ),
        ("image_size: 128", f"image_size: {'[' * 3000}{']' * 3000}", "YAML of too many levels"),
    ],
)
def test_what_no_stage_could_use_is_refused_before_any_runs(
    params_file, old, new, message, monkeypatch
):
    monkeypatch.chdir(params_file(old, new).parent)
    with pytest.raises(ConfigError, match=message):
        check_project()


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("ridge", {"seed": 2**33}, "train.ridge.seed: got 8589934592"),
        ("bayes", {"seed": -1}, "train.bayes.seed: got -1"),
        ("ridge", {"penalties": [1e300]}, r"train.ridge.penalties.0: got 1e\+300"),
        ("basic_ae", {"batch_size": 10**12}, "train.basic_ae.batch_size: got 1000000000000"),
        ("bayes", {"noise_scales": [float("inf")]}, "train.bayes.noise_scales.0: got inf"),
        ("low_level", {"temperature": float("inf")}, "train.low_level.temperature: got inf"),
        ("basic_ae", {"clip_mads": -1.0}, "train.basic_ae.clip_mads: got -1.0"),
    ],
)
def test_settings_of_models_have_limits(params_file, model, changes, message):
    params = load_params(params_file())
    with pytest.raises(ConfigError, match=message):
        check_settings(model, params.train[model] | changes)


def test_anchors_and_merged_keys_are_no_keys_twice():
    tree = "a: &a {x: 1}\nd:\n  b: &b\n    <<: *a\n    x: 2\nc:\n  <<: *b\n"
    assert yaml.load(tree, _Loader) == yaml.safe_load(tree)  # noqa: S506
    with pytest.raises(yaml.YAMLError, match="unhashable key"):
        yaml.load("{[a]: b}", _Loader)  # noqa: S506
