"""Score 1000 images, and compare with scikit-image called in a loop: seconds, peak memory,
equality (``python benchmarks/evaluation.py``).
"""

import time
from collections.abc import Callable

import numpy as np
from measuring import peak_rss_mb, put_section, sized, table
from skimage.metrics import structural_similarity

from fmri2img.evaluation.identification import similarity_matrix, two_way_identification
from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.evaluation.metrics.picture_metrics import score_pictures
from fmri2img.evaluation.presets import PRESETS

N_IMAGES, N_IN_LOOP = sized((1000, 60), (8, 4))
GREY = np.array([0.2125, 0.7154, 0.0721])
SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Run once; return time and result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def in_a_loop(truth: np.ndarray, predicted: np.ndarray, bring: Callable) -> np.ndarray:
    """PixCorr and SSIM as evaluation scripts compute them, shape (n, 2)."""
    found = []
    for one, other in zip(truth, predicted, strict=True):
        first, second = bring(one[None], len(one))[0], bring(other[None], len(one))[0]
        pixcorr = np.corrcoef(first.ravel().astype(np.float64), second.ravel().astype(np.float64))[
            0, 1
        ]
        found.append((pixcorr, structural_similarity(first @ GREY, second @ GREY, **SSIM)))
    return np.array(found)


def two_way_seconds(n_features: int, rng: np.random.Generator) -> float:
    """Time two-way identification; predictions come in blocks of 32, as a network makes them."""
    truth = rng.standard_normal((N_IMAGES, n_features), dtype=np.float32)
    sizes = [min(32, N_IMAGES - start) for start in range(0, N_IMAGES, 32)]
    blocks = (rng.standard_normal((size, n_features), dtype=np.float32) for size in sizes)
    return seconds(lambda: two_way_identification(similarity_matrix(truth, blocks)))[0]


def main() -> None:
    """Measure, and rewrite the section of the README."""
    rng = np.random.default_rng(0)
    rows = []
    for n_features in sized((60_000, 184_512), (60,)):
        taken = two_way_seconds(n_features, rng)
        rows.append(
            [
                f"2-way identification, {n_features} features an image",
                f"{taken:.1f}",
                "",
                "",
                f"{peak_rss_mb():.0f}",
            ]
        )
    taken, _ = seconds(lambda: bootstrap_intervals(rng.random((8, N_IMAGES)), 10_000, rng))
    rows.append(["BCa intervals of 8 metrics, 10 000 resamples", f"{taken:.1f}", "", "", ""])
    truth = rng.integers(0, 256, (N_IMAGES, 25, 25, 3), dtype=np.uint8).repeat(17, 1).repeat(17, 2)
    predicted = (
        rng.integers(0, 256, (N_IMAGES, 16, 16, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    )
    for name, preset in PRESETS.items():
        taken, found = seconds(
            lambda preset=preset: score_pictures(truth, {"model": predicted}, preset.bring)["model"]
        )
        looped, expected = seconds(
            lambda preset=preset: in_a_loop(truth[:N_IN_LOOP], predicted[:N_IN_LOOP], preset.bring)
        )
        looped *= N_IMAGES / N_IN_LOOP
        apart = max(
            np.abs(found[metric][:N_IN_LOOP] - expected[:, number]).max()
            for number, metric in enumerate(("pixcorr", "ssim"))
        )
        label = f"PixCorr, SSIM and column-wise SSIM at 425 x 425, `{name}`"
        rows.append([label, f"{taken:.1f}", f"{looped / taken:.1f}", f"{apart:.0e}", ""])
    headings = [
        f"{N_IMAGES} images",
        "seconds",
        "loop over scikit-image, times slower",
        "largest difference",
        "peak memory, MB",
    ]
    put_section("evaluation", table(headings, rows))
    print(table(headings, rows))


if __name__ == "__main__":
    main()
