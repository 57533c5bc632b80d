"""What clipping betas is worth where some of them are saturated, and what it costs where none are.

    python benchmarks/clipping.py --photos PHOTOGRAPHS --work FOLDER

Subject 1. SIMULATED DATA.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measuring import put_section, sized, table
from quality_jobs import train
from worlds import N_TEST, TEST_REPETITIONS, Pool, World, load_pool, make_world

from fmri2img.evaluation.metrics.latent_metrics import pattern_correlations

MODELS = ("ridge", "bayes")
TRIALS = sized(750, 12)
SHARE = 0.005  # of training betas
SATURATED = 32767 / 300  # percent: the largest number in NSD's files


def saturated(world: World) -> World:
    """Return it with some of the training betas at the largest number that a file can hold."""
    betas = world.data.train.betas.clone()
    betas[torch.from_numpy(np.random.default_rng(0).random(betas.shape) < SHARE)] = SATURATED
    data = replace(world.data, train=replace(world.data.train, betas=betas))
    return replace(world, data=data)


def latent_r(world: World, pool: Pool, name: str, work: Path) -> float:
    """Train one encoder, and return its mean score over test images."""
    encoder = train(world, name, work)
    with torch.no_grad():
        predicted = encoder(world.test_betas, torch.full((N_TEST,), TEST_REPETITIONS)).numpy()
    truth = pool.latents[:N_TEST].reshape(N_TEST, -1)
    mean = pool.latents[N_TEST:].mean(0).ravel()
    return float(pattern_correlations(truth, predicted.reshape(N_TEST, -1), mean).mean())


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of .jpg photographs")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures")
    options = parser.parse_args()
    rows = []
    for kind in ("scenes", *(["photos"] if options.photos else [])):
        pool = load_pool(kind, options.photos, options.work)
        clean = make_world(pool, subject=1, seed=1, sessions=3, trials=TRIALS)
        worlds = {"none": clean, f"{100 * SHARE:g} %": saturated(clean)}
        for model, (share, world) in ((one, item) for one in MODELS for item in worlds.items()):
            scores = [
                f"{latent_r(world, pool, name, options.work):.3f}"
                for name in (model, f"{model}, no clipping")
            ]
            rows.append([kind, f"`{model}`", share, *scores])
    put_section(
        "clipping",
        f"SIMULATED DATA. Subject 1, {TRIALS} trials: latent r of {N_TEST} test images. Saturated "
        "betas are at the largest number of NSD's files, in training only.\n\n"
        + table(["pictures", "encoder", "saturated", "clipped", "as they are"], rows),
    )


if __name__ == "__main__":
    main()
