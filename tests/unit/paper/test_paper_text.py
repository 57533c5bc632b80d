"""Sentences, tables and LaTeX of a manuscript, on facts made up for the test."""

import csv
import io
import re
from dataclasses import replace

import pytest

from fmri2img.models.registry import model_names
from fmri2img.paper.facts import Encoder, Facts, Participant
from fmri2img.paper.latex import cited, escaped, from_markdown
from fmri2img.paper.manuscript import bibliography
from fmri2img.paper.methods import DESCRIPTIONS, in_words, methods
from fmri2img.paper.tables import tables

PROVENANCE = {
    "data_source": "nsd",
    "title": "Natural Scenes Dataset",
    "units": {"name": "percent signal change", "per_unit": 300.0},
    "region": {"roi": "nsdgeneral+MTL", "drawn_in": "func"},
    "beta_version": "b3",
    "n_repetitions": 3,
    "voxel_mm": 1.8,
    "selection": {"min_ncsnr": 0.0},
}
ABOUT = {
    "autoencoder": {"name": "stable-diffusion-v1-5/stable-diffusion-v1-5", "sha256": "a" * 64},
    "n_bootstrap": 10000,
    "n_permutations": 20000,
    "networks": ["effnet_lite0", "alexnet"],
    "p_of": "random pairings; PixCorr at 128 x 128",
    "preset": "mindeye",
    "truth_pixels": [425, 425],
    "versions": {"numpy": "2.0", "torchvision": "not installed"},
}


def participant(subject, **changes):
    return replace(
        Participant(
            subject=subject,
            regions={"V1": 900, "V2": 100},
            n_sessions=40,
            n_trials=30000,
            n_images=10000,
            n_train=8100,
            n_validation=900,
            n_test=1000,
            split="shared",
            shown={3: 1000},
            provenance=PROVENANCE,
        ),
        **changes,
    )


def encoder(subject, model, score, outcome=""):
    means = {
        "model": {"pixcorr": score},
        "grey": {"pixcorr": 0.0},
        "train_mean": {"pixcorr": 0.1},
        "vae_ceiling": {"pixcorr": 0.9},
    }
    return Encoder(
        subject=subject,
        model=model,
        is_champion=model == "bayes",
        means=means,
        intervals={"pixcorr": (score - 0.01, score + 0.01)},
        against_reference={"pixcorr": outcome} if outcome else {},
        n_images=1000,
        settings={"clip_mads": 5.0},
        latent_shape=(4, 16, 16),
        about=ABOUT,
    )


@pytest.fixture
def facts():
    return Facts(
        participants=(
            participant("subj01"),
            participant("subj02", n_test=930, shown={2: 30, 3: 900}),
        ),
        encoders=(
            encoder("subj01", "ridge", 0.3),
            encoder("subj01", "bayes", 0.25, "worse"),
            encoder("subj02", "ridge", 0.31),
            encoder("subj02", "bayes", 0.35, "better"),
        ),
        differences=(
            {
                "subject": "subj01",
                "models": "bayes - ridge",
                "metric": "pixcorr",
                "mean": -0.05,
                "interval": [-0.07, -0.03],
                "effect": -1.25,
                "p_holm": 0.0004,
            },
        ),
        family_sizes={"chance": 4, "differences": 2},
        autoencoder=ABOUT["autoencoder"],
    )


def text_of(facts):
    return "\n".join(text for texts in methods(facts).values() for text in texts)


def test_the_methods_state_what_was_done(facts):
    text = text_of(facts)
    for statement in (
        "Two subjects (subj01 and subj02)",
        "40 sessions, 30000 trials of 10000 images",
        "1000 (subj01) and 930 (subj02)",
        "3 times each (subj01); twice (30 images) and 3 times (900 images) (subj02)",
        "nsdgeneral and MTL, drawn in functional space, at 1.8 mm: 1000 voxels (V1 900 and V2 100)",
        "betas of version b3, in percent signal change",
        "the best was `bayes` for subj01 and subj02.",
        "clipped at 5 median absolute deviations",
        "20000 random pairings of predictions and images [@phipson2010] (PixCorr at 128 × 128)",
        "separately within 4 tests against chance and 2 tests against `ridge`",
        "4 × 16 × 16 numbers, which its decoder turns into a picture of 128 × 128 pixels",
        "brought to one size as in MindEye [@scotti2023], by PixCorr",
        "425 × 425",
        "numpy 2.0.",
    ):
        assert statement in text, statement
    assert "simulated" not in text.lower()
    assert "torchvision" not in text
    assert "COCO [@lin2014]" in text


def test_simulated_data_are_called_so(facts):
    provenance = PROVENANCE | {"data_source": "simulated"}
    simulated = replace(
        facts, participants=tuple(replace(one, provenance=provenance) for one in facts.participants)
    )
    assert "**The data are simulated**" in text_of(simulated)
    assert all("**Simulated data.**" in table.caption for table in tables(simulated))


def test_noise_windows_and_random_splits_are_stated(facts):
    provenance = PROVENANCE | {
        "data_source": "folder",
        "title": "Colours at breakfast",
        "responses": "timeseries",
        "timeseries": {"window_seconds": [4.0, 8.0], "baseline_seconds": [-4.0, 0.0]},
        "selection": {"min_ncsnr": 0.2},
    }
    one = participant("anna", split="random", provenance=provenance)
    text = text_of(replace(facts, participants=(one,)))
    assert "The data are those of Colours at breakfast." in text
    assert "from 4 to 8 s after onset, minus that from -4 to 0 s" in text
    assert "signal-to-noise ratio below 0.2" in text
    assert "images drawn at random" in text
    assert "One subject (anna)" in text


def test_betas_of_other_datasets_have_no_version(facts):
    provenance = PROVENANCE | {"data_source": "folder", "beta_version": "Colours at breakfast"}
    one = participant("anna", provenance=provenance)
    assert "Responses are betas, in percent" in text_of(replace(facts, participants=(one,)))


def test_latents_and_features_are_named_where_they_are_scored(facts):
    means = {"model": {"pixcorr": 0.3, "two_way_effnet_lite0": 0.6, "pattern_correlation": 0.4}}
    scored = replace(facts.encoders[0], means=means, settings={"bands": "roi"})
    text = text_of(replace(facts, encoders=(scored,)))
    assert "Features came from EfficientNet-Lite0 [@tan2019]." in text
    assert "Predicted latents were compared with those of the pictures" in text
    assert "One encoder was trained" in text
    assert "one penalty a region" in text


def test_every_model_is_described():
    assert DESCRIPTIONS.keys() == set(model_names())


def test_what_the_text_cites_is_in_the_bibliography_and_nothing_else(facts):
    keys = cited(text_of(facts))
    assert {"allen2022", "rombach2022", "holm1979", "phipson2010"} <= set(keys)
    assert re.findall(r"^@\w+\{(\w+),", bibliography(keys), re.MULTILINE) == sorted(keys)
    every = {key for text in DESCRIPTIONS.values() for key in cited(text)}
    assert bibliography(sorted(every))
    assert "VERSION" not in bibliography(["fmri2img"])


def test_tables_have_the_numbers_and_mark_what_is_worse(facts):
    participants, scores, differences = tables(facts)
    assert participants.rows[0] == ("subj01", "1000", "40", "30000", "8100", "900", "1000")
    assert scores.rows[1] == ("subj01", "bayes *", "0.250▼\n[0.240, 0.260]\n(0.100)")
    assert scores.rows[3][2].startswith("0.350▲")
    stacked = (
        r"\begin{tabular}[t]{@{}l@{}}0.250$\blacktriangledown$ \\ \scriptsize [0.240, 0.260] \\ "
        r"\scriptsize (0.100)\end{tabular} \\"
    )
    assert stacked in scores.latex()
    (record,) = csv.DictReader(io.StringIO(differences.csv()))
    assert float(record["difference"]) == -0.05
    assert differences.rows[0][2:] == ("PixCorr", "-0.050 [-0.070, -0.030]", "-1.25", "0.00040")
    cells = r"bayes $-$ ridge & PixCorr & $-$0.050 [$-$0.070, $-$0.030] & $-$1.25"
    assert cells in differences.latex()
    assert r"\begin{tabular}{lrrrrrr}" in participants.latex()


def test_an_encoder_without_a_score_has_a_dash(facts):
    pixels = replace(facts.encoders[1], means={"model": {}}, intervals={})
    shown = tables(replace(facts, encoders=(facts.encoders[0], pixels)))[1]
    assert shown.rows[1][2] == "–"
    assert shown.records[1]["score"] is None


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % & more_than $3", r"50 \% \& more\_than \$3"),
        ("p < .05", r"p \textless{} .05"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("0.5▼", r"0.5$\blacktriangledown$"),
        ("[-0.5, -.1] a - b, 2-way, s41-021", "[$-$0.5, $-$.1] a $-$ b, 2-way, s41-021"),
        ("4 × 16", r"4 $\times$ 16"),
    ],
)
def test_nothing_is_a_command(text, latex):
    assert escaped(text) == latex


def test_markdown_becomes_latex():
    assert from_markdown("**All** of `a_b` [@one; @two], 5 %") == (
        r"\textbf{All} of \texttt{a\_b} \cite{one,two}, 5 \%"
    )
    assert cited("x [@b] y [@a; @b]") == ["b", "a"]


def test_lists_in_words():
    assert in_words([]) == ""
    assert in_words(["a"]) == "a"
    assert in_words(["a", "b", 3]) == "a, b and 3"
