"""Whose file it is, and whether it is one, is asked for every file of a subject."""

import numpy as np
import pytest

from fmri2img.containers.stored import Stored
from fmri2img.evaluation.alignment import Finding, Match
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.shown_trials import GIVEN
from fmri2img.pipeline.subject import EncoderData, SubjectData
from fmri2img.pipeline.subject_alignment import Alignment
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import write_json
from fmri2img.project.layout import encoding_scores_path, metrics_path, references_path, scores_path

SUBJECT, ENCODER = SubjectData("subj01"), EncoderData("subj01", "ridge")


class AskedError(Exception):
    pass


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "open_it",
    [
        SUBJECT.trial_betas,
        SUBJECT.examples,
        SUBJECT.encoding_model,
        ENCODER.reconstructions,
        ENCODER.voxel_priors,
    ],
    ids=lambda method: method.__name__,
)
def test_containers_are_opened_as_the_subjects(open_it, monkeypatch):
    def note(cls, path, *, remedy, on_disk=(), subject=""):
        raise AskedError(subject)

    monkeypatch.setattr(Stored, "open", classmethod(note))
    with pytest.raises(AskedError, match="subj01"):
        open_it()


def test_documents_of_somebody_else_are_refused():
    theirs = {"subject": "subj02"}
    document = MetricsDocument(theirs | {"n_test_images": 1}, {}).to_json()
    write_json(references_path("subj01"), document)
    write_json(metrics_path("subj01", "ridge"), document)
    write_json(encoding_scores_path("subj01"), {"about": theirs, "regions": {}})
    for read in (SUBJECT.references, ENCODER.metrics, SUBJECT.encoding_scores):
        with pytest.raises(MismatchError, match=r"belongs to subj02, expected subj01; run: dvc"):
            read()


def test_too_few_trials_are_no_mistake():
    finding = Finding([Match(GIVEN, np.full(30, 0.2, np.float32))], {}, 0.0, np.zeros(4), "too few")
    told = Alignment("subj01", "nsd", finding, False, 0.0, np.nan).to_json()
    assert (told["fault"], told["remarks"]) == ("", ["too few"])
    finding = Finding([Match(GIVEN, np.full(90, 0.2, np.float32))], {}, 0.0, np.zeros(4), "no")
    told = Alignment("subj01", "nsd", finding, False, 0.0, np.nan).to_json()
    assert (told["fault"], told["remarks"]) == ("no", [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not a table"),
        ("a,b\n1,2\n", "columns a, b, expected image_id and scores"),
        ("image_id,pixcorr\n7,high\n", "columns image_id, pixcorr, expected image_id and scores"),
        ('image_id,pixcorr\n"7,0.1\n', "not a table"),
    ],
)
def test_a_table_of_scores_that_is_none(text, fault):
    path = scores_path("subj01", "ridge")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(FormatError, match=rf"{fault}.*run: dvc repro evaluate@subj01-ridge"):
        ENCODER.scores()


def test_a_table_of_scores_may_have_texts_for_ids_and_gaps():
    path = scores_path("subj01", "ridge")
    path.parent.mkdir(parents=True)
    path.write_text("image_id,pixcorr,ssim\ncup-00,0.5,nan\ncup-01,0.25,0.1\n")
    assert ENCODER.scores()["pixcorr"].tolist() == [0.5, 0.25]
