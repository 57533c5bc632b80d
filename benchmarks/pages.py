"""How long the pages of a large project take to open (``python benchmarks/pages.py``): twelve
encoders of eight subjects, made up, in Chromium, beside the pages of two encoders of two subjects.

A page has opened when the browser has loaded and drawn it; pictures beside it that are out of view
are not loaded.
"""

import io
import shutil
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measuring import TINY, put_section, sized, table

from fmri2img.evaluation.metrics.catalogue import headline_metrics
from fmri2img.evaluation.metrics_document import MetricsDocument, Score
from fmri2img.evaluation.table_rows import CEILING, MODEL, SUBJECT_ROWS
from fmri2img.viz.compared_run import ComparedRun
from fmri2img.viz.comparison import comparison_figure
from fmri2img.viz.overview import ShownPictures, overview_page
from fmri2img.viz.pages import ListedRun, comparison_page
from fmri2img.viz.side_by_side import SubjectPictures, picture_strips, side_by_side_page

SIDE, N_SHOWN, N_IMAGES, N_TRIES = sized((128, 8, 100, 7), (8, 2, 3, 1))
SIZES = {"2 encoders, 2 subjects": (2, 2), "12 encoders, 8 subjects": (12, 8)}
LIMIT_SECONDS = 3.0
_DRAWN = """
const done = arguments[0];
requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
"""


def made_up(n: int, seed: int) -> np.ndarray:
    """Draw pictures (n, side, side, 3) as smooth as reconstructions are."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)


def write_pages(folder: Path, n_models: int, n_subjects: int) -> dict[str, Path]:
    """Write the pages of a whole project with their pictures; returns them by title."""
    models = [f"encoder_{number:02d}" for number in range(n_models)]
    subjects = [f"subj{number:02d}" for number in range(1, n_subjects + 1)]
    rows = (MODEL, CEILING, "shuffled", *SUBJECT_ROWS)
    means = {row: dict.fromkeys(headline_metrics(), 0.5) for row in rows}
    intervals = {key: [0.4, 0.6] for key in headline_metrics()}
    runs, shown, pictures = [], {}, []
    for subject in subjects:
        for number, model in enumerate(models):
            reconstructed = made_up(N_SHOWN, number)
            runs.append(
                ComparedRun(
                    subject, model, 1000, means, intervals, {}, 0.5, not number, {}, reconstructed
                )
            )
        ids = np.arange(N_SHOWN)
        shown[subject] = ShownPictures(ids, made_up(N_SHOWN, 50), made_up(N_SHOWN, 51), "simulated")
        of_models = {model: made_up(N_IMAGES, number) for number, model in enumerate(models)}
        scores = {model: np.linspace(0, 1, N_IMAGES) for model in models}
        truth, ceiling = made_up(N_IMAGES, 50), made_up(N_IMAGES, 51)
        ids = np.arange(N_IMAGES)
        pictures.append(SubjectPictures(subject, ids, truth, ceiling, of_models, scores, {}))
    for one in pictures:
        for path, strip in picture_strips(one).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(strip)
    pages = {
        "first page": ("index.html", overview_page(runs, shown, ["Made up."])),
        "comparison": ("comparison.html", comparison_of(runs, shown)),
        "all pictures": ("pictures.html", side_by_side_page(pictures, "simulated", "")),
    }
    for name, text in pages.values():
        (folder / "reports" / name).write_text(text, encoding="utf-8")
    return {title: folder / "reports" / name for title, (name, _) in pages.items()}


def comparison_of(runs: list[ComparedRun], shown: dict[str, ShownPictures]) -> str:
    """Return the page of all scores, with a difference in each headline score of each encoder."""
    rows = {
        row: {metric: Score(value, 0.4, 0.6) for metric, value in scores.items()}
        for row, scores in runs[0].means.items()
    }
    document = MetricsDocument({"n_test_images": 1000, "test_set": "made up"}, rows)
    differences = [
        {"subject": run.subject, "models": f"{run.model} - ridge", "metric": metric, "mean": 0.1}
        | {"interval": [0.0, 0.2], "effect": 0.5, "p": 0.01, "p_holm": 0.02}
        for run in runs
        for metric in headline_metrics()
    ]
    scores = {metric: {"mean": 0.5, "interval": [0.4, 0.6]} for metric in headline_metrics()}
    region = {"n_above": 9, "n_voxels": 10, "noise_ceiling_above": 50, "r2": 1, "r2_normalized": 2}
    about = {"min_noise_ceiling": 5.0, "noise_ceiling_from": "ncsnr"}
    figure = io.BytesIO()
    pictures = [
        {name: getattr(one, side) for name, one in shown.items()} for side in ("truth", "ceiling")
    ]
    comparison_figure(runs, *pictures, "simulated").savefig(figure, dpi=110)
    return comparison_page(
        [ListedRun(run.subject, run.model, run.is_champion, document) for run in runs],
        "simulated",
        ["Made up."],
        differences,
        [{"model": model, "scores": scores} for model in {run.model: 0 for run in runs}],
        {name: {"regions": {"all voxels": region}, "about": about} for name in shown},
        figure.getvalue(),
    )


def seconds_to_open(pages: list[Path]) -> list[float]:
    """Return the median time to open each page, in a browser that has started."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        times = []
        for page in pages:
            tries = []
            for _ in range(N_TRIES):
                browser.get("about:blank")
                browser.get(page.as_uri())
                tries.append(browser.execute_async_script(_DRAWN) / 1000)
            times.append(statistics.median(tries))
    finally:
        browser.quit()
    return times


def main() -> None:
    """Measure, and write the table."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if TINY:
            print("no browser")
            return
        sys.exit("Chromium and its driver are not installed (Debian: chromium, chromium-driver)")
    rows, first = [], []
    with TemporaryDirectory() as folder:
        for size, (n_models, n_subjects) in SIZES.items():
            pages = write_pages(Path(folder) / size.replace(" ", "_"), n_models, n_subjects)
            times = seconds_to_open(list(pages.values()))
            first = first or times
            for (title, page), seconds, small in zip(pages.items(), times, first, strict=True):
                megabytes = f"{page.stat().st_size / 1e6:.1f}"
                ratio = f"{seconds / small:.1f}"
                rows.append([title, size, megabytes, f"{seconds:.2f}", ratio])
                print(rows[-1], flush=True)
    head = f"Seconds until a page is drawn, median of {N_TRIES}; at most {LIMIT_SECONDS:g}.\n\n"
    columns = ["page", "", "MB", "seconds", "times the small one"]
    if not TINY and (slowest := max(float(row[3]) for row in rows)) > LIMIT_SECONDS:
        sys.exit(f"a page takes {slowest} s to open, expected {LIMIT_SECONDS:g} at most")
    put_section("pages", head + table(columns, rows))


if __name__ == "__main__":
    main()
