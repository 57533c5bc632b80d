"""The project's own sources: what thirty changed constants would run again, and that spelling
runs nothing.
"""

import re

import pytest

from conftest import REPOSITORY
from fmri2img.provenance.reach import PACKAGES, SUFFIXES, Program
from fmri2img.provenance.stage_fingerprints import code_digest, fingerprints, write_fingerprints

SOURCE = REPOSITORY / "src"
FILES = {
    path.relative_to(SOURCE).as_posix(): path.read_text()
    for package in PACKAGES
    for path in (SOURCE / package).rglob("*")
    if path.suffix in SUFFIXES
}


@pytest.fixture(scope="module")
def program():
    return Program.parse(FILES)


@pytest.fixture(scope="module")
def before(program):
    return fingerprints(program)


def stale(program, before, file, text):
    """Names of fingerprints that another text of one file changes, models together."""
    after = fingerprints(
        Program(
            program.modules | Program.parse({file: text}).modules,
            program.templates | Program.parse({file: text}).templates,
        )
    )
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    "file",
    [
        "fmri2img/containers/storage.py",
        "fmri2img/containers/stored.py",
        "fmri2img/project/config.py",
        "fmri2img/models/ridge.py",
        "fmri2img/project/files.py",
        "stages/train.py",
    ],
)
def test_a_comment_a_docstring_and_another_order_of_imports_run_nothing(program, before, file):
    text = FILES[file]
    lines = text.splitlines()
    imports = [
        number
        for number, line in enumerate(lines)
        if re.fullmatch(r"from \S+ import [\w, ]+", line)
    ]
    lines[imports[0]], lines[imports[-1]] = lines[imports[-1]], lines[imports[0]]
    respelled = (
        "\n\n# A remark.\n".join(["", *lines[:1]]).lstrip("\n")
        + "\n".join(["", *lines[1:]])
        + "\n\n# The end.\n"
    )
    respelled = respelled.replace('"""', '"""Said differently: ', 1)
    assert respelled != text
    assert stale(program, before, file, respelled) == set()


@pytest.mark.parametrize("file", [name for name in FILES if name.endswith(".html.jinja")])
def test_a_comment_in_a_template_runs_nothing_and_a_word_does(program, before, file):
    assert stale(program, before, file, "{# A remark. #}\n" + FILES[file]) == set()
    changed = stale(
        program,
        before,
        file,
        FILES[file].replace("<nav>", "<nav><p>new</p>", 1).replace("<h1", "<h2", 1),
    )
    assert {name.partition("/")[0] for name in changed} == {
        "fmri2img/viz/base.html.jinja": {"compare", "evaluate", "map_voxels", "predict"},
        "fmri2img/viz/brain.html.jinja": {"map_voxels"},
        "fmri2img/viz/side_by_side.html.jinja": {"compare"},
        "fmri2img/viz/comparison.html.jinja": {"compare"},
        "fmri2img/viz/index.html.jinja": {"compare"},
        "fmri2img/viz/gallery.html.jinja": {"predict"},
        "fmri2img/viz/adaptation.html.jinja": set(),  # a verb's
        "fmri2img/viz/report.html.jinja": {"evaluate"},
    }[file]


def test_what_templates_include_counts_as_theirs(program, before):
    for file, word in (("enlarge.js.jinja", "ArrowRight"), ("enlarge.css.jinja", "dialog")):
        name = f"fmri2img/viz/{file}"
        changed = stale(program, before, name, FILES[name].replace(word, f"{word}2"))
        assert {one.partition("/")[0] for one in changed} == {"compare", "predict"}


# What each constant decides, read in the code: the stages that run a function which uses it. "with
# a model": a model's file counts whole for the stages that load it. "saves": what asks anything for
# save() counts as saving containers, split_examples, evaluate and compare included.
WITH_A_MODEL = {"evaluate_ood", "learn_population", "predict", "train"}
READS_RAW_FILES = {
    "collect_anatomy", "collect_truth", "convert_roi", "create_examples", "extract_betas",
    "fetch_captions", "fetch_ood", "fetch_raw", "make_targets", "read_ood",
}  # fmt: skip
WITH_METRICS = {"compare", "evaluate", "evaluate_ood", "score_references"}
SAVES = {
    "collect_anatomy", "collect_prior", "collect_truth", "compare", "create_examples",
    "encode_latents", "evaluate",
    "extract_betas", "fit_encoding_model", "learn_population", "make_targets", "predict",
    "read_ood", "split_examples",
}  # fmt: skip
SHOWS = {"fetch_ood", "fetch_raw"}  # with responses to pictures
FETCHES = {"collect_anatomy", "fetch_ood", "fetch_raw"}
CONSTANTS = {
    ("fmri2img/containers/storage.py", "_CHUNK_BYTES"): SAVES,
    ("fmri2img/datasets/nsd/design.py", "UNITS"): {"extract_betas", "read_ood"} | FETCHES,
    ("fmri2img/datasets/nsd/design.py", "TRIALS_PER_SESSION"): {"extract_betas", "read_ood"}
    | FETCHES,
    ("fmri2img/datasets/nsd/design.py", "N_SUBJECTS"): {"extract_betas", "read_ood"} | FETCHES,
    ("fmri2img/datasets/nsd/volumes.py", "_READ_AHEAD_BYTES"): {"extract_betas", "read_ood"},
    ("fmri2img/datasets/pieces.py", "_VOXELS_AT_ONCE"): {"extract_betas"},
    ("fmri2img/datasets/picture_join.py", "_VOXELS_AT_ONCE"): {"create_examples"},
    ("fmri2img/datasets/nsd/stimuli.py", "STIMULUS_SIDE"): {
        "collect_anatomy",
        "collect_truth",
        "create_examples",
        "extract_betas",
        "fetch_ood",
        "make_targets",
        "read_ood",
    },
    ("fmri2img/datasets/fetching/bucket.py", "_ATTEMPTS"): FETCHES,
    ("fmri2img/datasets/fetching/partial.py", "_BLOCK_BYTES"): FETCHES,
    ("fmri2img/datasets/simulation/voxel_responses.py", "_PICTURE_DEGREES"): SHOWS,
    ("fmri2img/datasets/simulation/cortex.py", "_PATCH_RADIUS"): FETCHES,
    ("fmri2img/datasets/simulation/painting.py", "N_TEXTURES"): SHOWS,
    ("fmri2img/datasets/simulation/scene_captions.py", "N_CAPTIONS"): {"fetch_captions"},
    ("fmri2img/features/energies.py", "_ORIENTATIONS"): {"check_alignment", "encode_latents"},
    ("fmri2img/features/diffusion_targets.py", "VERSION"): {"make_targets"},
    ("fmri2img/pretrained/diffusion.py", "CELL_PIXELS"): {"make_targets", "predict"},
    ("fmri2img/containers/repetitions.py", "_VOXELS_AT_ONCE"): WITH_A_MODEL,
    ("fmri2img/models/_normalizer.py", "_VOXELS_AT_ONCE"): WITH_A_MODEL,
    ("fmri2img/training/loop.py", "_VALIDATION_BATCH"): {"train"},
    ("fmri2img/training/objectives.py", "_CPU_DECODER_BATCH"): {"train"},
    ("fmri2img/training/memory.py", "_RESIDENT_SHARE"): {"train"},
    ("fmri2img/generation/diffusion_reconstructions.py", "_ROWS_AT_ONCE"): {"predict"},
    # The comparison reads the declarations of metrics, beside which the functions stand.
    ("fmri2img/evaluation/presets.py", "HEADLINE"): WITH_METRICS,
    ("fmri2img/evaluation/network_features.py", "_BATCH"): WITH_METRICS,
    ("fmri2img/evaluation/metrics/picture_metrics.py", "PAIRED_SIDE"): WITH_METRICS,
    ("fmri2img/evaluation/identification.py", "POOL"): {"evaluate"},
    ("fmri2img/evaluation/inference.py", "_RESAMPLES_AT_ONCE"): WITH_METRICS,
    ("fmri2img/evaluation/comparisons.py", "_RESAMPLES_AT_ONCE"): {"compare"},
    ("fmri2img/provenance/receipts.py", "SIMULATED_NOTICE"): FETCHES,
    ("fmri2img/evaluation/picture_folders.py", "_ENDINGS"): set(),  # a verb's
    ("fmri2img/project/parallel.py", "_CONNECT_SECONDS"): set(),  # where jobs run
    ("fmri2img/tracking/encoder_files.py", "_N_PICTURES"): set(),  # MLflow
}


def changed(file, constant):
    text, n_changed = re.subn(rf"(?m)^({constant}(?:: [^=\n]+)?) = .*$", r"\1 = 77", FILES[file])
    assert n_changed == 1
    return text


def test_there_are_thirty_constants():
    assert len(CONSTANTS) >= 30


@pytest.mark.parametrize(("file", "constant"), CONSTANTS)
def test_a_changed_constant_runs_the_stages_that_use_it_and_no_other(
    program, before, file, constant
):
    found = stale(program, before, file, changed(file, constant))
    assert {name.partition("/")[0] for name in found} == CONSTANTS[file, constant]


@pytest.mark.parametrize("dataset", ["nsd", "simulated", "folder"])
def test_a_change_of_one_dataset_runs_no_other(program, before, dataset):
    file = f"fmri2img/datasets/{dataset}_dataset.py"
    found = stale(program, before, file, FILES[file] + "\nNEW = 1\n")
    assert found == {f"{stage}/{dataset}" for stage in READS_RAW_FILES}


@pytest.mark.parametrize("model", ["ridge", "bayes", "low_level", "upscaling_ae", "takagi"])
def test_a_change_of_one_model_runs_no_other(program, before, model):
    file = f"fmri2img/models/{model}.py"
    found = stale(program, before, file, FILES[file] + "\nNEW = 1\n")
    assert found == {f"{stage}/{model}" for stage in WITH_A_MODEL}


def test_files_are_written_once_and_those_of_stages_that_are_no_more_are_removed(
    program, before, tmp_path
):
    folder = tmp_path / "fingerprints"
    (folder / "train").mkdir(parents=True)
    (folder / "train/gone.txt").write_text("x")
    names = write_fingerprints(folder, SOURCE)
    assert sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.txt")
    ) == sorted(before)
    assert len(names) == len(before)
    assert (folder / "evaluate.txt").read_text() == before["evaluate"]


def test_a_checkpoint_knows_the_meaning_of_its_code(monkeypatch, program):
    one = code_digest("fmri2img.training.fit.fit_encoder", "fmri2img.models.basic_ae.Model")
    assert one == code_digest("fmri2img.training.fit.fit_encoder", "fmri2img.models.basic_ae.Model")
    assert one != code_digest(
        "fmri2img.training.fit.fit_encoder", "fmri2img.models.low_level.Model"
    )
