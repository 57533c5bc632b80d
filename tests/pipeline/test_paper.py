"""``fmri2img paper`` on the finished project: every number is that of the results."""

import csv
import json
import re
import shutil
import subprocess

import pytest

from commands import without_code
from fmri2img.containers.splits import Split
from fmri2img.evaluation.metrics_document import floor_of
from fmri2img.sharing import open_voxels
from miniature import PAIR, SUBJECT, clone
from pipeline.projects import run


@pytest.fixture(scope="module")
def finished(pair_template, tmp_path_factory):
    folder = clone(pair_template, tmp_path_factory.mktemp("paper") / "project")
    result = run(folder, "fmri2img", "paper")
    assert "SIMULATED DATA" in result.stdout
    assert not result.stderr
    return folder


def test_every_number_of_the_tables_is_that_of_the_comparison(finished):
    comparison = json.loads((finished / "reports/comparison.json").read_text())
    with (finished / "paper/scores.csv").open() as file:
        records = list(csv.DictReader(file))
    assert {record["model"] for record in records} == set(PAIR)
    latex = (finished / "paper/scores.tex").read_text().replace("$-$", "-")
    for record in records:
        item = comparison["runs"][f"{record['subject']}/{record['model']}"]
        metric = record["metric"]
        if metric not in item["means"]["model"]:
            assert record["score"] == ""
            continue
        assert float(record["score"]) == item["means"]["model"][metric]
        assert [float(record["low"]), float(record["high"])] == item["interval"][metric]
        assert float(record["ceiling"]) == item["means"]["vae_ceiling"][metric]
        assert f"{item['means']['model'][metric]:.3f}" in latex
        floor = floor_of(metric, item["means"])
        assert float(record["floor"]) == floor.value
        low, high = item["interval"][metric]
        # Score, interval and floor stand in one cell.
        score = f"{item['means']['model'][metric]:.3f}"
        (cell,) = {
            found
            for found in re.findall(r"\\begin\{tabular\}\[t\].*?\\end\{tabular\}", latex)
            if score in found and f"{low:.3f}" in found and f"{high:.3f}" in found
        }
        assert f"{floor.value:.3f}" in cell
    with (finished / "paper/differences.csv").open() as file:
        differences = list(csv.DictReader(file))
    assert [float(one["difference"]) for one in differences] == [
        one["mean"] for one in comparison["differences"]
    ]
    assert [float(one["p after Holm"]) for one in differences] == [
        one["p_holm"] for one in comparison["differences"]
    ]


def test_the_methods_say_what_the_files_hold(finished):
    text = (finished / "paper/methods.md").read_text()
    voxels = open_voxels(finished / f"data/voxels/{SUBJECT}.h5")
    split = Split.open(finished / f"data/splits/{SUBJECT}.json", remedy="")
    assert f"{len(voxels.trials.image_ids)} trials of {len(voxels.image_ids)} images" in text
    assert f"{voxels.n_voxels} voxels" in text
    assert f"{len(split.train)} served for training and {len(split.validation)} for" in text
    about = json.loads((finished / f"reports/metrics/{SUBJECT}/ridge.json").read_text())["about"]
    assert f"{about['n_permutations']} random pairings" in text
    assert "**The data are simulated**" in text


def test_all_that_is_cited_is_listed_and_nothing_else(finished):
    folder = finished / "paper"
    latex = "".join(path.read_text() for path in folder.glob("*.tex"))
    keys = {key for group in re.findall(r"\\cite\{([^}]+)\}", latex) for key in group.split(",")}
    listed = re.findall(r"^@\w+\{(\w+),", (folder / "references.bib").read_text(), re.MULTILINE)
    assert set(listed) == keys
    labels = set(re.findall(r"\\label\{([^}]+)\}", latex))
    assert labels == set(re.findall(r"\\ref\{([^}]+)\}", latex))
    for name in re.findall(r"\\(?:input|includegraphics\[[^]]*\])\{([^}]+)\}", latex):
        assert (folder / name).exists() or (folder / f"{name}.tex").exists(), name


def test_the_results_begin_with_the_verdict_of_the_comparison(finished):
    sentences = json.loads((finished / "reports/comparison.json").read_text())["verdict"]
    assert sentences
    assert (finished / "paper/results.md").read_text().split("\n\n")[1:] == [
        *sentences[:-1],
        sentences[-1] + "\n",
    ]


def test_letters_are_embedded_in_figures(finished):
    folder = finished / "paper"
    names = sorted(path.stem for path in folder.glob("*.pdf"))
    assert names == sorted(
        f"{figure}_{columns}"
        for figure in ("scores", f"pictures_{SUBJECT}")
        for columns in ("one_column", "two_columns")
    )
    for name in names:
        assert b"/FontFile2" in (folder / f"{name}.pdf").read_bytes()
        assert "<text" not in (folder / f"{name}.svg").read_text()


def test_the_same_results_give_the_same_bytes(finished):
    run(finished, "fmri2img", "paper", "--to", "again")
    for path in (finished / "paper").iterdir():
        assert path.read_bytes() == (finished / "again" / path.name).read_bytes(), path.name


def test_some_models_only(finished):
    run(finished, "fmri2img", "paper", "--to", "ridge", "--models", "ridge")
    assert not (finished / "ridge/differences.csv").exists()
    assert (finished / "ridge/results.md").read_text() == "# Results\n"
    assert "basic_ae" not in (finished / "ridge/methods.md").read_text()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--subjects", "subj09"), "subj09: no such subject in reports/comparison.json; choose"),
        (("--models", "ridgee"), "ridgee: no such model in reports/comparison.json; choose from"),
    ],
)
def test_what_was_not_compared_is_told(finished, options, line):
    refused = run(finished, "fmri2img", "paper", *options, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {line}")


def test_scores_that_are_not_the_comparisons_are_refused(finished, tmp_path):
    other = clone(finished, tmp_path / "project")
    path = other / f"reports/metrics/{SUBJECT}/ridge.json"
    document = json.loads(path.read_text())
    document["rows"]["model"]["pixcorr"]["value"] += 0.1
    path.unlink()
    path.write_text(json.dumps(document))
    refused = run(other, "fmri2img", "paper", check=False)
    assert refused.returncode == 1
    assert "ridge.json: pixcorr: got" in refused.stderr
    assert "as in reports/comparison.json; run: fmri2img repro" in refused.stderr


def test_what_is_not_here_is_told_and_nothing_is_written(finished, tmp_path):
    other = clone(finished, tmp_path / "project")
    (other / f"data/reconstructions/{SUBJECT}/ridge.h5").unlink()
    refused = run(other, "fmri2img", "paper", "--to", "new", check=False)
    assert refused.returncode == 1
    assert "ridge.h5 not found; run: fmri2img pull --everything" in refused.stderr
    assert not (other / "new").exists()
    (other / "reports/comparison.json").unlink()
    refused = run(other, "fmri2img", "paper", check=False)
    assert (
        without_code(refused.stderr)
        == "error: reports/comparison.json not found; run: fmri2img repro\n"
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="TeX is not installed")
def test_it_is_a_pdf(finished):
    folder = finished / "paper"
    typeset = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
    for command in (typeset, ["bibtex", "paper"], typeset, typeset):
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-3000:]
    assert "undefined" not in result.stdout
    assert "Overfull" not in result.stdout
    assert ".600pk" not in result.stdout  # letters in pixels
    assert (folder / "paper.pdf").stat().st_size > 10_000
