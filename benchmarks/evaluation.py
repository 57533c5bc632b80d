"""Scores of 1000 images beside scikit-image called in a loop: seconds, peak memory, equality (``python benchmarks/evaluation.py``)."""

import resource
import time
from collections.abc import Callable

import numpy as np
from skimage.metrics import structural_similarity

from fmri2img.evaluation.identification import similarity_matrix, two_way_identification
from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.evaluation.pixels import PRESETS, score_pictures

N_IMAGES, N_IN_LOOP = 1000, 60
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
        first, second = bring(one[None])[0], bring(other[None])[0]
        pixcorr = np.corrcoef(first.ravel().astype(np.float64), second.ravel().astype(np.float64))[0, 1]
        found.append((pixcorr, structural_similarity(first @ GREY, second @ GREY, **SSIM)))
    return np.array(found)


def two_way_seconds(n_features: int, rng: np.random.Generator) -> float:
    """Time two-way identification; predictions come in blocks of 32, as a network makes them."""
    truth = rng.standard_normal((N_IMAGES, n_features), dtype=np.float32)
    sizes = [min(32, N_IMAGES - start) for start in range(0, N_IMAGES, 32)]
    blocks = (rng.standard_normal((size, n_features), dtype=np.float32) for size in sizes)
    return seconds(lambda: two_way_identification(similarity_matrix(truth, blocks)))[0]


def peak_memory() -> str:
    """Say how much memory this process has taken at most so far."""
    return f"peak memory so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"


def main() -> None:
    """Print a table."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (N_IMAGES, 25, 25, 3), dtype=np.uint8)
    truth = coarse.repeat(17, 1).repeat(17, 2)
    predicted = rng.integers(0, 256, (N_IMAGES, 16, 16, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    for name, preset in PRESETS.items():
        taken, found = seconds(lambda preset=preset: score_pictures(truth, {"model": predicted}, preset.bring)["model"])
        looped, expected = seconds(lambda preset=preset: in_a_loop(truth[:N_IN_LOOP], predicted[:N_IN_LOOP], preset.bring))
        looped *= N_IMAGES / N_IN_LOOP
        apart = max(np.abs(found[metric][:N_IN_LOOP] - expected[:, number]).max() for number, metric in enumerate(("pixcorr", "ssim")))
        print(f"PixCorr, SSIM and column-wise SSIM at 425 x 425, {name}: {taken:.1f} s; loop without column-wise {looped:.1f} s, "
              f"{looped / taken:.1f}x; largest difference {apart:.1e}")  # fmt: skip
    taken = two_way_seconds(60_000, rng)
    print(f"2-way on 1000 x 60 000 features: {taken:.1f} s; {peak_memory()}")
    taken, _ = seconds(lambda: bootstrap_intervals(rng.random((8, N_IMAGES)), 10_000, rng))
    print(f"BCa bootstrap, 10 000 resamples x 8 metrics: {taken:.1f} s")
    taken = two_way_seconds(184_512, rng)
    print(f"2-way on 1000 x 184 512 features, predictions made in blocks meanwhile: {taken:.1f} s; {peak_memory()}")


if __name__ == "__main__":
    main()
