"""What an encoder can know of its own error: by number of the latent, and by image.

    python benchmarks/stated_error.py --photos PHOTOGRAPHS --work FOLDER

Subject 8, who is for choosing. SIMULATED DATA.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measuring import put_section, sized, table
from quality_jobs import train
from scipy.stats import spearmanr
from worlds import N_TEST, TEST_REPETITIONS, Pool, World, load_pool, make_world

TRIALS = sized((150, 750, 0), (12,))  # 0: all of three sessions
SHRINKAGE = 0.5  # of the covariance of responses


@dataclass(frozen=True)
class Errors:
    """Squared errors of test images, and what could have told them beforehand.

    Attributes
    ----------
    measured, stated : ndarray, shape (n_images, n_numbers)
        Of each number of each latent; what the encoder stated.
    strength : ndarray, shape (n_images,)
        Mean square of the predicted latent, from the mean over training images.
    distance : ndarray, shape (n_images,)
        Of the response from the mean response, by the covariance over training images
        (Mahalanobis).
    size : ndarray, shape (n_images,)
        Mean square of the true latent, from the same mean: not known when decoding.
    """

    measured: np.ndarray
    stated: np.ndarray
    strength: np.ndarray
    distance: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, world: World, pool: Pool, work: Path) -> "Errors":
        """Train `bayes`, and let it predict the test images."""
        encoder, data = train(world, "bayes", work), world.data.train
        repetitions = torch.full((N_TEST,), TEST_REPETITIONS)
        with torch.no_grad():
            predicted = encoder(world.test_betas, repetitions).flatten(1).numpy()
            stated = encoder.spread(N_TEST, repetitions).flatten(1).numpy()
            responses = encoder.normalizer(world.test_betas).numpy()
            known = encoder.normalizer(data.image_betas).numpy()
        truth = pool.latents[:N_TEST].reshape(N_TEST, -1)
        mean = data.latents.mean(0).numpy().ravel()
        covariance = np.cov(known.T)
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
        covariance += 1e-6 * np.eye(len(covariance))  # dead voxels
        apart = responses - known.mean(axis=0)
        return cls(
            (predicted - truth) ** 2,
            stated**2,
            ((predicted - mean) ** 2).mean(axis=1),
            (apart * np.linalg.solve(covariance, apart.T).T).sum(axis=1),
            ((truth - mean) ** 2).mean(axis=1),
        )

    def row(self) -> list[str]:
        """Return the cells of the table."""
        by_number = np.sqrt(self.measured.mean(axis=0) / self.stated.mean(axis=0))
        of_image = self.measured.mean(axis=1)
        by_image = np.sqrt(of_image / self.stated.mean(axis=1))
        cells = [f"{np.sqrt(self.measured.mean() / self.stated.mean()):.2f}"]
        for ratios in (by_number, by_image):
            low, high = np.percentile(ratios, [5, 95])
            cells.append(f"{low:.2f} to {high:.2f}")
        guesses = (self.strength, self.distance, self.size)
        return [*cells, *(f"{spearmanr(of_image, guess).statistic:+.2f}" for guess in guesses)]


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of .jpg photographs")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures")
    options = parser.parse_args()
    rows = []
    for kind in ("scenes", *(["photos"] if options.photos else [])):
        pool = load_pool(kind, options.photos, options.work)
        for trials in TRIALS:
            world = make_world(pool, subject=8, seed=1, sessions=3, trials=trials)
            scanned = f"{trials} trials" if trials else "3 sessions"
            rows.append([kind, scanned, *Errors.of(world, pool, options.work).row()])
    heads = ["pictures", "scanned", "error over stated", "by number of the latent", "by image"]
    guesses = ["strength of the prediction", "distance of the response", "size of the true latent"]
    put_section(
        "stated error",
        "SIMULATED DATA. Subject 8, `bayes`: RMS error over the stated one, of all, and its range "
        "(5 to 95 %) over numbers of the latent and over test images; and the rank correlation of "
        "an image's error with three things.\n\n" + table([*heads, *guesses], rows),
    )


if __name__ == "__main__":
    main()
