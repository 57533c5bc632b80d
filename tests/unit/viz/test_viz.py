import re
from dataclasses import replace

import numpy as np
import pytest

from fmri2img.evaluation.metrics.catalogue import all_metrics
from fmri2img.evaluation.metrics_document import MetricsDocument, Score, data_sentence
from fmri2img.evaluation.verdict import TIE
from fmri2img.viz.compared_run import ComparedRun
from fmri2img.viz.comparison import comparison_figure, comparison_markdown
from fmri2img.viz.gallery import GalleryItem, UnsureMap, gallery_page
from fmri2img.viz.overview import Scale, ShownPictures, overview_page
from fmri2img.viz.pages import ListedRun, ReportData, comparison_page, run_page
from fmri2img.viz.posterior_samples import PosteriorSamples
from fmri2img.viz.summary import terminal_summary

METRICS = (
    "pixcorr",
    "ssim",
    "two_way_effnet_lite0",
    "pattern_correlation",
    "dimension_correlation",
    "two_way",
)


FLAT = {"pixcorr": Score(0.2), "ssim": Score(0.4)}


@pytest.fixture
def runs(rng):
    def document(score):
        def row(value, low=None, high=None):
            return dict.fromkeys(METRICS, Score(value, low, high))

        rows = {
            "model": row(score, score - 0.05, score + 0.05),
            "vae_ceiling": row(1.0),
            "shuffled": row(0.1),
            **dict.fromkeys(("single_trial", "nearest_train", "resize_ceiling"), row(0.3)),
            **dict.fromkeys(("grey", "train_mean", "mean_latent"), FLAT),
        }
        return MetricsDocument({"n_test_images": 37}, rows, p_values={"pixcorr": 0.001})

    pictures = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    return [
        ComparedRun.of(
            subject,
            model,
            document(score),
            {"pixcorr": 0.002},
            score,
            model == "ridge",
            {} if model == "ridge" else {"pixcorr": "worse", "ssim": "better", "two_way": TIE},
            pictures,
        )
        for subject in ("subj01", "subj02")
        for model, score in (("ridge", 0.61), ("basic_ae", 0.53))
    ]


def test_markdown_has_floors_ceiling_intervals_and_the_warning(runs):
    text = comparison_markdown(runs, "simulated", ["It is so."], "comparison.png", 1000)
    assert "**Simulated data.**" in text
    assert "## subj02 (37 test images)" in text
    assert "**0.610** [0.560, 0.660]" in text
    assert r"| **ridge** \* |" in text
    # Worse, better, and no difference shown.
    line = next(line for line in text.splitlines() if line.startswith("| **basic_ae**"))
    assert line.split("|")[2:4] == [" **0.530**▼ [0.480, 0.580] ", " **0.530**▲ [0.480, 0.580] "]
    assert line.count("▼") == line.count("▲") == 1
    for row in (
        "floor: grey",
        "floor: mean picture",
        "floor: shuffled, basic_ae",
        "ceiling: autoencoder alone",
    ):
        assert text.count(f"| {row} |") == 2
    assert "Simulated" not in comparison_markdown(runs, "s3", [], "comparison.png", 1000)
    assert "cannot tell" not in text
    told = comparison_markdown(runs, "s3", [], "comparison.png", 79)
    assert "With 4 tests and 79 resamples" not in told
    told = comparison_markdown(runs, "s3", [], "comparison.png", 78)
    assert "With 4 tests and 78 resamples no p can fall below 0.051" in told
    assert "set evaluate.n_permutations to at least 80." in told


@pytest.fixture
def runs_elsewhere(runs):
    """The same, of which those of subj01 were also scored on another test set."""

    def there(run):
        score = Score(0.123, 0.08, 0.15)
        rows = {name: {"pattern_correlation": Score(0.02)} for name in run.means}
        return MetricsDocument(
            {"n_test_images": 284}, rows | {"model": {"pattern_correlation": score}}
        )

    return [
        replace(run, ood={"nsdsynthetic": there(run)}) if run.subject == "subj01" else run
        for run in runs
    ]


def test_scores_on_another_test_set_stand_beside_the_others(runs_elsewhere, shown):
    text = comparison_markdown(runs_elsewhere, "s3", [], "comparison.png", 1000)
    assert text.count("nsdsynthetic, images of another kind (284)") == 1
    assert text.count("| **ridge** \\* | **0.123** [0.080, 0.150] |\n") == 1
    summaries = [run.summary() | {"name": f"{run.subject}/{run.model}"} for run in runs_elsewhere]
    assert ["ood" in summary for summary in summaries] == [True, True, False, False]
    assert summaries[0]["ood"]["nsdsynthetic"]["n_test_images"] == 284
    told = terminal_summary(summaries, "s3", []).splitlines()
    start = next(row for row, line in enumerate(told) if line.startswith("nsdsynthetic"))
    assert [line.split()[0] for line in told[start + 1 : start + 3]] == [
        "subj01/ridge",
        "subj01/basic_ae",
    ]
    assert "0.123 (0.020)" in " ".join(told[start + 1].split())
    page = overview_page(runs_elsewhere, shown, [])
    assert page.count("<th><button>latent pattern r, nsdsynthetic</button><small>") == 1
    assert page.count("<b>0.123</b>") == 2
    rows = re.findall(r"<tr><td data-value.*?</tr>", page, re.DOTALL)
    assert len({len(re.findall(r"<td", row)) for row in rows}) == 1


def test_figure_shows_every_subject_and_model(runs, rng):
    truth = {
        subject: rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
        for subject in ("subj01", "subj02")
    }
    figure = comparison_figure(runs, truth, truth, "simulated")
    texts = {
        text.get_text() for part in figure.subfigs for axis in part.axes for text in axis.texts
    }
    assert texts >= {"subj01\nseen", "subj02\nseen", "ridge *", "basic_ae"}
    assert "simulated" in figure.get_suptitle()
    assert "▼ worse than ridge" in figure.get_suptitle()
    assert [text.get_text() for text in figure.subfigs[0].axes[0].texts] == ["▼", "▼"]
    figure = comparison_figure([run for run in runs if run.model == "ridge"], truth, truth, "nsd")
    assert "▼" not in figure.get_suptitle()


def test_summary_names_files_and_the_next_command(runs):
    summaries = [run.summary() | {"name": f"{run.subject}/{run.model}"} for run in runs]
    said = "ridge against chance: " + "better in everything, " * 9
    text = terminal_summary(summaries, "simulated", ["reports/comparison.md"], [said])
    assert "\n- ridge against chance: better" in text
    assert "subj01/ridge *" in text
    assert "0.610  (0.200)" in text
    assert "0.530▼ (0.200)" in text
    assert "0.530▲ (0.400)" in text
    assert "▲ better, ▼ worse than ridge (p < .05 after Holm)." in text
    heads = next(line for line in text.splitlines() if line.startswith("test images"))
    assert heads.split()[2:] == [
        "PixCorr",
        "SSIM",
        "EffNet-L0",
        "2-way",
        "latent",
        "r",
        "latent",
        "2-way",
    ]
    assert "SIMULATED DATA" in text
    assert "reports/comparison.md" in text
    assert "make ui" in text
    assert max(map(len, text.splitlines())) < 100


def test_gallery_is_one_file_with_a_banner_and_all_pictures(rng):
    items = [
        GalleryItem(
            17 + row,
            split,
            *rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8),
            {"PixCorr": 0.1 * row},
        )
        for row, split in enumerate(["test", "test", "train"])
    ]
    page = gallery_page(
        items, subject="subj01", model="ridge", data_source="simulated", facts={"voxels": "9 <b>"}
    )
    assert "Simulated data" in page
    assert page.count("<img ") == 9
    assert page.count('data-split="test"') == 2
    assert re.search(r"image 19</b>.*PixCorr 0\.20", page)
    assert "9 &lt;b&gt;" in page
    assert not re.search(r"src=\"(?!data:)", page)
    assert not re.search(r"href=\"(?!\.\./)", page)
    assert "Simulated data" not in gallery_page(
        items, subject="s", model="m", data_source="s3", facts={}
    )
    assert "Where the encoder is unsure" not in page


def test_gallery_shows_where_the_encoder_is_unsure(rng):
    item = GalleryItem(
        17, "test", *rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8), {"PixCorr": 0.1}
    )
    maps = [
        UnsureMap("1 repetition", np.full((4, 4), 0.93)),
        UnsureMap("3 repetitions", np.full((4, 4), 0.81)),
    ]
    page = gallery_page(
        [replace(item, stated_error=0.456)],
        subject="subj01",
        model="bayes",
        data_source="simulated",
        facts={},
        unsure=maps,
    )
    assert "stated error 0.46" in " ".join(page.split())
    assert re.search(r"1 repetition<br><b>93 %</b>.*3 repetitions<br><b>81 %</b>", page, re.DOTALL)
    assert page.count("data:image/png") == 3  # two maps and the scale
    assert not re.search(r"src=\"(?!data:)", page)
    assert not re.search(r"href=\"(?!\.\./)", page)


@pytest.fixture
def shown(rng):
    return {
        subject: ShownPictures(
            np.array([7, 19, 23]),
            *rng.integers(0, 256, (2, 3, 16, 16, 3), dtype=np.uint8),
            "simulated",
        )
        for subject in ("subj01", "subj02")
    }


def cells_of(page, run):
    """The cells of one encoder in the table of the first page, as HTML."""
    rows = re.findall(r"<tr><td data-value=.*?</tr>", page, re.DOTALL)
    (row,) = [row for row in rows if f"of {run.subject} {run.model}" in " ".join(row.split())]
    return re.findall(r'<td class="score".*?</td>', row, re.DOTALL)


def test_the_first_page_answers_before_it_is_scrolled(runs, shown):
    page = overview_page(runs, shown, ["It is so."])
    assert page.index("Simulated data") < page.index("<li>It is so.</li>") < page.index("<table")
    pixcorr, ssim, _, pattern, two_way = cells_of(page, runs[1])
    assert ">0.530</b>" in pixcorr
    assert re.search(r'class="bad">▼\s+worse than\s+ridge<', pixcorr)
    assert re.search(r'class="good">▲\s+better than\s+ridge<', ssim)
    assert TIE in two_way
    assert "ridge" not in pattern
    assert "37 images" in page
    assert not any("ridge" in cell for cell in cells_of(page, runs[0]))


def test_scores_are_drawn_between_floor_and_ceiling_and_right_is_better(runs, shown):
    scored = cells_of(overview_page(runs, shown, []), runs[0])[0]
    places = {
        name: float(re.search(rf'"{name}"\s+style="left:([\d.]+)%', scored).group(1))
        for name in ("floor", "dot", "ceiling")
    }
    assert places == {"floor": 0.0, "dot": pytest.approx(51.25), "ceiling": 100.0}
    # A distance: less is better.
    distant = [
        replace(
            run,
            means={
                row: values | {"effnet_lite0_distance": value}
                for (row, values), value in zip(
                    run.means.items(), np.linspace(0.2, 0.9, len(run.means)), strict=True
                )
            },
        )
        for run in runs
    ]
    metric = replace(all_metrics()["effnet_lite0_distance"], level="headline")
    scale = Scale.of(metric, distant)
    assert scale.best < scale.worst
    assert (scale.place(scale.best), scale.place(scale.worst)) == (100, 0)


def test_a_score_at_its_floor_is_said_to_be(runs, shown):
    low = replace(runs[0], intervals=runs[0].intervals | {"ssim": [0.39, 0.5]})
    cells = cells_of(overview_page([low], shown, []), low)
    assert ["not above the floor" in cell for cell in cells[:2]] == [False, True]


def test_the_first_page_shows_every_picture_and_links_every_page(runs, shown):
    page = overview_page(runs, shown, [])
    assert page.count("<img ") == 2 * (2 + 2)
    assert page.count(">19</span>") == 2
    for address in ("comparison.html", "runs/subj02/ridge.html", "gallery/subj01/basic_ae.html"):
        assert f'href="{address}"' in page
    assert not re.search(r"(src|href)=.https?:", page)
    assert page == overview_page(runs, shown, [])
    one = overview_page(runs[:1], {"subj01": shown["subj01"]}, ["<b>not bold</b>"])
    assert "&lt;b&gt;not bold" in one
    assert "subj02" not in one


def test_a_lab_of_many_encoders_gets_a_page_of_a_few_megabytes(runs, rng):
    pictures = rng.integers(0, 256, (8, 128, 128, 3), dtype=np.uint8) // 8 * 8
    subjects = [f"subj{number:02d}" for number in range(1, 9)]
    many = [
        replace(runs[0], subject=subject, model=f"model{number:02d}", pictures=pictures)
        for subject in subjects
        for number in range(12)
    ]
    shown = dict.fromkeys(subjects, ShownPictures(np.arange(8), pictures, pictures, "nsd"))
    page = overview_page(many, shown, [])
    assert page.count('loading="lazy"') == 8 * 14
    # Noise is the worst case of JPEG.
    assert len(page) < 20e6


@pytest.fixture
def document():
    beside = (
        "ssim_columnwise",
        "two_way_ground_truth",
        "brain_diffuser_pixcorr",
        "brain_diffuser_ssim",
    )
    scores = dict.fromkeys((*METRICS, *beside), Score(0.6, 0.55, 0.65))
    rows = dict.fromkeys(
        ("model", "single_trial", "ridge", "shuffled", "nearest_train", "vae_ceiling"), scores
    )
    rows |= dict.fromkeys(("grey", "train_mean", "mean_latent"), FLAT)
    rows["resize_ceiling"] = {"pixcorr": Score(0.97), "ssim": Score(0.8)}
    numbers = {"pattern_correlation": 0.1, "two_way": 0.6, "pixcorr_small": 0.3}
    ends = {"mean": 0.31, "low": 0.2, "high": 0.4}
    return MetricsDocument(
        about={
            "data_source": "simulated",
            "n_test_images": 12,
            "test_set": "shared",
            "constant_reconstructions": 2,
            "reconstructions_per_image": 1,
            "weights": {"a": "12ab"},
            "versions": {"numpy": "2"},
        },
        absent={"two_way_clip": "weights lost", "swav_distance": "not asked for"},
        rows=rows,
        seeds={"pixcorr": {"values": [0.6, 0.62, 0.58], "mean": 0.6, "sd": 0.02}},
        brain={"all voxels": dict.fromkeys(("model", "shuffled", "mean_latent", "truth"), ends)},
        p_values={"pixcorr": 0.001},
        latent={"r2_mean": 0.21},
        retrieval={
            "raw": {"image_to_brain_top1": 0.3, "image_to_brain_top1_of_12_drawn": 0.3},
            "centred": {"image_to_brain_top1": 0.4, "image_to_brain_top1_of_12_drawn": 0.4},
        },
        repetitions={str(count): {"n_images": 9} | numbers for count in (1, 2, 3)},
    )


ENCODING = {
    "regions": {
        "V1v": {"n_voxels": 9.0, "n_above": 0.0, "noise_ceiling": 1.2},
        "all voxels": {
            "n_voxels": 70.0,
            "n_above": 50.0,
            "noise_ceiling": 12.3,
            "noise_ceiling_above": 15.1,
            "r2": 4.5,
            "r2_normalized": 33.3,
        },
    },
    "about": {"min_noise_ceiling": 7.5, "noise_ceiling_from": "ncsnr of somewhere"},
}


def rows_of(page):
    """Rows of all tables as words."""
    return [
        re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    ]


def test_a_page_shows_floors_ceilings_intervals_and_needs_no_network(document, rng):
    pictures = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    scores = {
        row: {metric: rng.random(12) for metric in METRICS if metric != "dimension_correlation"}
        for row in ("model", "shuffled")
    }
    data = ReportData(
        "subj03",
        "basic_ae",
        document,
        ENCODING,
        scores,
        np.arange(12),
        pictures,
        pictures,
        pictures,
        rng.random((4, 3, 3)),
    )
    page = run_page(data)
    assert "Simulated data" in page
    assert "2 reconstructions are uniformly grey" in " ".join(page.split())
    rows = rows_of(page)
    assert ["floor:", "grey", "0.200", "0.400", "–"] in [row[:5] for row in rows]
    assert "Not computed: SwAV ↓ (not asked for); CLIP (weights lost)." in page
    assert ["PixCorr", "0.600", "0.0200", "0.0500", "0.600&ensp;0.620&ensp;0.580"] in rows
    assert ["all", "voxels", "70", "12.3", "50", "15.1", "4.5", "33.3", "–", "–"] in rows
    assert ["V1v", "9", "1.2", "0", "–", "–", "–", "–", "–"] in rows
    assert "at least 7.5 %, from the ncsnr of somewhere" in page
    assert ["all", "voxels", *["0.310", "0.200", "–", "0.400"] * 4] in rows
    assert any(row[:3] == ["reference:", "ridge", "0.600"] for row in rows)
    assert any(row[:5] == ["encoder", "0.600", "0.550", "–", "0.650"] for row in rows)
    best = int(np.argmax(scores["model"]["pattern_correlation"]))
    assert page.index(f"image {best} ") < page.index("Worst reconstructions")
    assert not re.search(r"(src|href)=.https?:", page)
    assert page == run_page(data)
    assert "reference: ridge" not in run_page(replace(data, model="ridge"))
    assert "How much is brain" not in page
    assert re.search(r'href="../../comparison.html#differences"', page)
    # A pool of all images gives the numbers of no pool again.
    heads = " ".join(page.partition("Retrieval in latents")[2].partition("</thead>")[0].split())
    assert "of 12" not in heads
    assert "top1" in heads
    assert "Samples from the posterior" not in page
    drawn = [PosteriorSamples(5, pictures[0], pictures[1], pictures[2:5])]
    with_samples = run_page(replace(data, posterior=drawn))
    section = with_samples.partition("Samples from the posterior")[2].partition("<h2>")[0]
    assert re.findall(r"<small>(.*?)</small>", " ".join(section.split())) == [
        *("seen", "mean", "sample 1", "sample 2", "sample 3")
    ]
    assert section.count("data:image/jpeg") == 5
    assert "image 5" in section
    decided = run_page(replace(data, decided=np.full((3, 3), 0.25)))
    assert "25 % on average" in " ".join(decided.split())


@pytest.fixture
def comparison(document):
    def render(data_source, differences=()):
        runs = [ListedRun("subj01", "ridge", True, document)]
        means = [
            {
                "model": "ridge",
                "scores": {
                    "pixcorr": {
                        "mean": 0.61,
                        "interval": [0.58, 0.64],
                        "subjects": {"subj01": 0.61},
                    }
                },
            }
        ]
        return comparison_page(
            runs,
            data_source,
            ["It is so."],
            list(differences),
            means,
            {"subj01": ENCODING},
            b"png",
        )

    return render


def test_the_foot_names_the_dataset_and_its_terms(runs, shown):
    origin = data_sentence("NSD", "voxels may not leave the group")
    assert origin == "NSD. Voxels may not leave the group."
    assert data_sentence("Our scans", "") == "Our scans."
    assert f"<footer>Data: {origin}<br>" in overview_page(runs, shown, [], origin)


def test_real_data_carry_no_banner(comparison):
    assert "not comparable: simulated data" in comparison("simulated")
    page = comparison("simulated")
    assert page.index("<li>It is so.</li>") < page.index("<table")
    real = comparison("nsd")
    assert "Simulated" not in real
    assert "12 images (shared)" in real
    low_level = [row for row in rows_of(real) if row[:2] == ["MindEye2", "low-level,"]]
    assert low_level[0][6:] == [
        "1000",
        "images",
        "0.399",
        "0.539",
        "0.705",
        "0.651",
        "0.529",
        "0.572",
        "0.984",
        "0.673",
    ]


def test_means_over_subjects_and_noise_ceilings_stand_on_the_comparison(comparison):
    rows = rows_of(comparison("nsd"))
    assert any(row[:7] == ["mean", "of", "1", "ridge", "0.610", "0.580", "–"] for row in rows)
    assert ["subj01", "V1v", "0", "of", "9", "–", "–", "–"] in rows
    assert ["subj01", "ridge", *["0.310", "0.200", "–", "0.400"] * 4] in rows
    assert ["mean", "of", "1", "floor:", "grey", "0.200", "0.400", "–", "–", "–", "–"] in rows


def test_differences_are_shown_with_their_intervals(comparison):
    difference = {
        "subject": "subj01",
        "models": "basic_ae - ridge",
        "metric": "two_way",
        "mean": -0.02,
        "interval": [-0.03, -0.01],
        "effect": -0.4,
        "p": 0.01,
        "p_holm": 0.02,
    }
    page = comparison("nsd", [difference])
    assert "-0.020" in page
    assert 'class="text bad">worse<' in " ".join(page.split())
    assert "tests of this table" in page
    assert "-0.030 – -0.010" in " ".join(page.split())
