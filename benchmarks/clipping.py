"""What clipping betas is worth where some of them are saturated, and what it costs where none are.

    python benchmarks/clipping.py --photos PHOTOGRAPHS --work FOLDER

Four subjects. SIMULATED DATA.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from measuring import put_section, sized, table
from quality_jobs import SUBJECTS, train
from worlds import N_TEST, TEST_REPETITIONS, World, load_pool, make_world

from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.evaluation.metrics.latent_metrics import pattern_correlations

MODELS = ("ridge", "bayes")
TRIALS = sized(750, 12)
SHARES = (0.0, 0.005)  # of training betas that are saturated
SATURATED = 32767 / 300  # percent: the largest number in NSD's files, of either sign
N_BOOTSTRAP = sized(10_000, 200)


def saturated(world: World, share: float) -> World:
    """Return it with some of the training betas at the ends of what a file can hold."""
    betas, rng = world.data.train.betas.clone(), np.random.default_rng(0)
    ends = torch.from_numpy(rng.choice([-SATURATED, SATURATED], betas.shape).astype(np.float32))
    betas = torch.where(torch.from_numpy(rng.random(betas.shape) < share), ends, betas)
    return replace(world, data=replace(world.data, train=replace(world.data.train, betas=betas)))


def latent_r(kind: str, subject: int, share: float, name: str, options: argparse.Namespace) -> list:
    """Train one encoder, and return the score of each test image."""
    torch.set_num_threads(1)
    pool = load_pool(kind, options.photos, options.work)
    world = make_world(pool, subject=subject, seed=1, sessions=3, trials=TRIALS)
    encoder = train(saturated(world, share), name, options.work)
    with torch.no_grad():
        predicted = encoder(world.test_betas, torch.full((N_TEST,), TEST_REPETITIONS)).numpy()
    truth = pool.latents[:N_TEST].reshape(N_TEST, -1)
    mean = pool.latents[N_TEST:].mean(0).ravel()
    return pattern_correlations(truth, predicted.reshape(N_TEST, -1), mean).tolist()


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of .jpg photographs; else scenes")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    kind = "photos" if options.photos else "scenes"
    load_pool(kind, options.photos, options.work)
    rows = []
    with Parallel(n_jobs=sized(options.jobs, 1)) as parallel:
        for model, share in ((model, share) for share in SHARES for model in MODELS):
            names = (model, f"{model}, no clipping")
            clipped, plain = (
                np.mean(
                    parallel(
                        delayed(latent_r)(kind, subject, share, name, options)
                        for subject in SUBJECTS
                    ),
                    axis=0,
                )
                for name in names
            )
            difference = clipped - plain
            rng = np.random.default_rng(0)
            low, high = bootstrap_intervals(difference[None], N_BOOTSTRAP, rng)[0]
            gain = f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            scores = (f"{scores.mean():.3f}" for scores in (clipped, plain))
            rows.append([f"{100 * share:g} %", f"`{model}`", *scores, gain])
    put_section(
        "clipping",
        f"SIMULATED DATA. Subjects {', '.join(map(str, SUBJECTS))}, {kind}, {TRIALS} trials: mean "
        f"latent r of {N_TEST} test images, with a paired 95 % BCa interval over them. Saturated "
        "betas are at either end of what NSD's files can hold, in training only.\n\n"
        + table(["saturated", "encoder", "clipped", "as they are", "difference"], rows),
    )


if __name__ == "__main__":
    main()
