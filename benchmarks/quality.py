"""How good the encoders are on simulated subjects: every model, four subjects, three seeds, 1 to 10
sessions, two kinds of pictures.

    python benchmarks/quality.py --photos FOLDER --work FOLDER

Trains what is not in the work folder yet, one process a core, and writes the tables of
benchmarks/README.md. SIMULATED DATA.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process a core beats two threads

import numpy as np
import torch
import yaml
from joblib import Parallel, delayed
from measuring import put_section, sized, table
from worlds import (
    JUDGED,
    N_TEST,
    N_VOXELS,
    TEST_REPETITIONS,
    VAE,
    Pool,
    World,
    load_pool,
    make_world,
)

from fmri2img.datasets.nsd.paths import subject_number
from fmri2img.datasets.simulation.worlds import FOR_CHOOSING, STANDARD, WORLDS
from fmri2img.evaluation.correlation import pixel_correlations
from fmri2img.evaluation.identification import similarity_matrix, two_way_identification
from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.evaluation.metrics.latent_metrics import pattern_correlations
from fmri2img.generation.decode import decode_latents
from fmri2img.models.base import Encoder
from fmri2img.models.registry import model_class
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.project.files import write_json
from fmri2img.training.fit import fit_encoder

SUBJECTS, SEEDS = sized(((1, 2, 5, 7), (1, 2, 3)), ((1,), (1,)))
SESSIONS = (1, 3, 10)
MODELS = ("ridge", "basic_ae", "low_level", "bayes_independent", "bayes")
IN_WORLDS = ("ridge", "low_level", "bayes_independent", "bayes")
METRICS = {"pattern": "latent r", "pixcorr": "PixCorr", "two_way": "2-way"}
# Changes to params.yaml for 300 voxels: a network of 1024 hidden units and 64 channels was no
# better, and took longer.
SMALL = {
    "hidden_size": sized(512, 16),
    "channels": sized(32, 8),
    "learning_rate": 0.001,
    "n_seeds": 1,
}
# With many images, fewer epochs of larger batches were as good (10 sessions of photographs: latent
# r 0.377 against 0.375). With few they were not (1 session: 0.221 against 0.327; 120 epochs:
# 0.302).
FEW_EPOCHS, MANY_EPOCHS = (
    {"batch_size": 128, "epochs": sized(15, 1)},
    {"batch_size": 64, "epochs": sized(40, 1)},
)
MANY_IMAGES = 2000
N_DECODED = sized(100, 4)  # how many of the test images are decoded
# Repetitions of every picture for the ceiling: ten times the trials of ten sessions.
MANY = sized(13, 2)
TINY_BAYES = sized(
    {},
    {
        "prior_shrinkages": [0.2],
        "noise_shrinkages": [0.75],
        "noise_scales": [1.0],
    },
)
PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


@dataclass(frozen=True)
class Job:
    """One simulated subject, and the models to train on it."""

    stimuli: str
    subject: int
    seed: int
    sessions: int
    world: str = STANDARD
    models: tuple[str, ...] = MODELS

    @property
    def name(self) -> str:
        """Name of the file with the results, without its ending."""
        return f"{self.stimuli}-{self.subject}-{self.seed}-{self.sessions or 'many'}-{self.world}"


def all_jobs(kinds: list[str]) -> Iterator[Job]:
    """Yield the jobs that the tables need; further seeds of the longest trainings come last."""
    for sessions in SESSIONS[:-1]:
        for kind, seed, subject in product(kinds, SEEDS, SUBJECTS):
            yield Job(kind, subject, seed, sessions)
    for kind, subject in product(kinds, SUBJECTS):
        yield Job(kind, subject, SEEDS[0], SESSIONS[-1])
    for kind, subject in product(kinds, SUBJECTS):
        yield Job(kind, subject, SEEDS[0], 0, models=("bayes",))
    yield from jobs_of_worlds()
    for kind, seed, subject in product(kinds, SEEDS[1:], SUBJECTS):
        yield Job(kind, subject, seed, SESSIONS[-1])


def jobs_of_worlds() -> Iterator[Job]:
    """Yield a job for each world: one subject, one seed, three sessions of scenes."""
    for world in JUDGED:
        yield Job("scenes", 1, 1, 3, world, IN_WORLDS)


def train(world: World, name: str, folder: Path) -> Encoder:
    """Train one model with the settings of ``params.yaml`` and the changes above."""
    low_level = SMALL | (FEW_EPOCHS if len(world.data.train.latents) > MANY_IMAGES else MANY_EPOCHS)
    section = yaml.safe_load(PARAMS.read_text())["train"][name] | {
        "basic_ae": sized({"n_seeds": 1}, {"n_seeds": 1, "hidden_sizes": [16], "epochs": 1}),
        "low_level": low_level,
    }.get(name, {})
    section |= TINY_BAYES if name.startswith("bayes") else {}
    kind = model_class(name)
    settings = kind.Settings.model_validate(section)
    checkpoint = folder / f"{os.getpid()}-{name}.safetensors"
    encoder, _ = fit_encoder(
        kind,
        settings,
        world.data,
        load_decoder=lambda: None,
        checkpoint=checkpoint,
        on_epoch=lambda _: None,
    )
    checkpoint.unlink(missing_ok=True)
    return encoder


def decode(predicted: np.ndarray) -> np.ndarray:
    """Decode only the first `N_DECODED` latents: decoding takes as long as training."""
    return decode_latents(predicted[:N_DECODED], load_autoencoder(str(VAE), "main"), batch_size=8)


def score(
    predicted: np.ndarray, pictures: np.ndarray, pool: Pool, mean: np.ndarray
) -> dict[str, list[float]]:
    """Return the scores of each test image; latents are centred on the mean of the training
    images.
    """
    truth = pool.latents[:N_TEST].reshape(N_TEST, -1)
    flat = predicted.reshape(N_TEST, -1)
    scores = {
        "pattern": pattern_correlations(truth, flat, mean),
        "pixcorr": pixel_correlations(pool.pictures[:N_DECODED], pictures),
        "two_way": two_way_identification(similarity_matrix(truth - mean, flat - mean)),
    }
    return {metric: np.round(values, 6).tolist() for metric, values in scores.items()}


def run(job: Job, photos: Path | None, work: Path) -> None:
    """Simulate, train, score and store.

    Raises
    ------
    ValueError
        If the subject is the one on whom defaults may be chosen.
    """
    if job.subject == subject_number(FOR_CHOOSING):
        raise ValueError(f"{FOR_CHOOSING} is for choosing settings, expected another subject")
    path = work / f"{job.name}.json"
    if path.exists():
        return
    torch.set_num_threads(1)
    pool = load_pool(job.stimuli, photos, work)
    repetitions = None if job.sessions else MANY
    world = make_world(
        pool,
        subject=job.subject,
        seed=job.seed,
        sessions=job.sessions,
        name=job.world,
        repetitions=repetitions,
    )
    mean = world.data.train.latents.mean(0).numpy()
    found = {}
    for name in job.models:
        encoder = train(world, name, work)
        with torch.no_grad():
            predicted = encoder(world.test_betas, torch.full((N_TEST,), TEST_REPETITIONS)).numpy()
        pictures = decode(predicted)
        found[name] = score(predicted, pictures, pool, mean.ravel())
        if name == "ridge":  # other images' predictions, and the mean of training images
            found["shuffled"] = score(
                np.roll(predicted, 1, axis=0), np.roll(pictures, 1, axis=0), pool, mean.ravel()
            )
            constant = [
                np.repeat(values, n, axis=0)
                for values, n in ((mean[None], N_TEST), (decode(mean[None]), N_DECODED))
            ]
            found["mean latent"] = score(*constant, pool, mean.ravel())
    about = {
        "train_images": len(world.data.train.latents),
        "train_trials": len(world.data.train.betas),
    }
    write_json(path, {"job": asdict(job), "about": about, "scores": found})


def load(job: Job, work: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the scores of each image by model and metric."""
    scores = json.loads((work / f"{job.name}.json").read_text())["scores"]
    return {
        model: {metric: np.array(values) for metric, values in found.items()}
        for model, found in scores.items()
    }


def over_seeds(
    work: Path,
    kind: str,
    subject: int,
    sessions: int,
    model: str,
    metric: str,
    seeds: Sequence[int] = (),
) -> np.ndarray:
    """Return each test image's mean score over some seeds; by default those that were run for all
    subjects.
    """
    seeds = seeds or seeds_of(work, kind, sessions)
    return np.mean(
        [load(Job(kind, subject, seed, sessions), work)[model][metric] for seed in seeds], axis=0
    )


def seeds_of(work: Path, kind: str, sessions: int) -> list[int]:
    """Return the seeds that were run for all subjects."""
    return [
        seed
        for seed in SEEDS
        if all(
            (work / f"{Job(kind, subject, seed, sessions).name}.json").exists()
            for subject in SUBJECTS
        )
    ]


def score_table(work: Path, kinds: list[str]) -> str:
    """Return the table of scores, one row per model and size: means over subjects and seeds, with
    intervals over test images.
    """
    rows = []
    for kind, sessions in product(kinds, SESSIONS):
        for model in ("mean latent", "shuffled", *MODELS):
            cells = []
            for metric in METRICS:
                values = np.mean(
                    [
                        over_seeds(work, kind, subject, sessions, model, metric)
                        for subject in SUBJECTS
                    ],
                    axis=0,
                )
                low, high = bootstrap_intervals(values[None], 10_000, np.random.default_rng(0))[0]
                cells.append(f"{values.mean():.3f} [{low:.3f}, {high:.3f}]")
            size = f"{sessions} ({len(seeds_of(work, kind, sessions))} seeds)"
            rows.append([kind, size, f"**{model}**" if model == "bayes" else model, *cells])
        if sessions == SESSIONS[-1]:
            many = [
                load(Job(kind, subject, SEEDS[0], 0, models=("bayes",)), work)["bayes"]
                for subject in SUBJECTS
            ]
            rows.append(
                [
                    kind,
                    "100",
                    "bayes: the ceiling of the data",
                    *(f"{np.mean([one[metric] for one in many]):.3f}" for metric in METRICS),
                ]
            )
    return table(["pictures", "sessions", "encoder", *METRICS.values()], rows)


def gain_table(work: Path, kinds: list[str]) -> str:
    """Return the table of the gains of ``bayes`` over each other model: their range over subjects,
    and the lowest end of the paired intervals.
    """
    rows = []
    for kind, sessions, other in product(kinds, SESSIONS, MODELS[:-1]):
        cells = []
        for metric in METRICS:
            gains, lowest = [], []
            for subject in SUBJECTS:
                ours, theirs = (
                    over_seeds(work, kind, subject, sessions, model, metric)
                    for model in ("bayes", other)
                )
                low, _ = bootstrap_intervals(
                    (ours - theirs)[None], 10_000, np.random.default_rng(0)
                )[0]
                gains.append((ours - theirs).mean())
                lowest.append(low)
            cells.append(f"{min(gains):+.3f} to {max(gains):+.3f} (> {min(lowest):+.3f})")
        rows.append([kind, str(sessions), other, *cells])
    return table(["pictures", "sessions", "bayes minus", *METRICS.values()], rows)


def third_table(work: Path, kinds: list[str]) -> str:
    """Return the table that compares bayes on three sessions with ridge on ten, and bayes on ten
    with its ceiling.
    """
    rows = []
    for kind, metric in product(kinds, METRICS):
        # Compare the same brains: each seed is one brain.
        seeds = [seed for seed in seeds_of(work, kind, 3) if seed in seeds_of(work, kind, 10)]
        few, all_of_them = (
            [over_seeds(work, kind, subject, n, model, metric, seeds) for subject in SUBJECTS]
            for n, model in ((3, "bayes"), (10, "ridge"))
        )
        gains = [
            float((ours - theirs).mean()) for ours, theirs in zip(few, all_of_them, strict=True)
        ]
        ten = [
            over_seeds(work, kind, subject, 10, "bayes", metric, SEEDS[:1]).mean()
            for subject in SUBJECTS
        ]
        many = [
            load(Job(kind, subject, SEEDS[0], 0, models=("bayes",)), work)["bayes"][metric].mean()
            for subject in SUBJECTS
        ]
        shares = [100 * own / best for own, best in zip(ten, many, strict=True)]
        rows.append(
            [
                kind,
                METRICS[metric],
                f"{min(gains):+.3f} to {max(gains):+.3f}",
                f"{min(shares):.0f} to {max(shares):.0f} %",
            ]
        )
    return table(
        [
            "pictures",
            "metric",
            "bayes (3 sessions) minus ridge (10)",
            "bayes (10 sessions), share of its ceiling",
        ],
        rows,
    )


def world_table(work: Path) -> str:
    """Return the table that compares the encoders in each world."""
    rows = []
    for job in jobs_of_worlds():
        scores = load(job, work)
        rows.append(
            [
                f"`{job.world}`",
                WORLDS[job.world].title,
                *(f"{scores[model]['pattern'].mean():.3f}" for model in ("shuffled", *IN_WORLDS)),
                *(_gain(scores, metric) for metric in METRICS),
            ]
        )
    gains = [f"bayes minus ridge: {title}" for title in METRICS.values()]
    return table(["world", "", "shuffled", *IN_WORLDS, *gains], rows)


def _gain(scores: dict[str, dict[str, np.ndarray]], metric: str) -> str:
    """Return how much bayes gains over ridge, with its interval over test images."""
    gain = scores["bayes"][metric] - scores["ridge"][metric]
    low, high = bootstrap_intervals(gain[None], 10_000, np.random.default_rng(0))[0]
    return f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Train what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--photos",
        type=Path,
        default=None,
        help="folder of .jpg photographs; without it, painted scenes only",
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder for pictures and results; existing ones are kept",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument(
        "--tables", action="store_true", help="only write the tables of the existing results"
    )
    parser.add_argument("--worlds", action="store_true", help="only the worlds, on scenes")
    options = parser.parse_args()
    kinds = ["scenes", *(["photos"] if options.photos and not options.worlds else [])]
    if not options.tables:
        for kind in kinds:
            load_pool(kind, options.photos, options.work)
        jobs = jobs_of_worlds() if options.worlds else all_jobs(kinds)
        Parallel(n_jobs=options.jobs, verbose=5)(
            delayed(run)(job, options.photos, options.work) for job in jobs
        )
    put_section(
        "worlds",
        "SIMULATED DATA. Subject 1, one seed, 3 sessions of scenes (one where the world says so): "
        f"latent r of {N_TEST} test images, and what `bayes` gains over `ridge` with its 95 % "
        "interval over test images.\n\n" + world_table(options.work),
    )
    if options.worlds:
        return
    about = (
        f"SIMULATED DATA. Subjects {', '.join(map(str, SUBJECTS))}, several seeds (of brain, noise "
        f"and pictures shown), about {N_VOXELS} "
        f"voxels, {N_TEST} test images of {TEST_REPETITIONS} repetitions, of which {N_DECODED} "
        "were decoded. Means over subjects "
        "and seeds, 95 % BCa intervals over test images.\n\n"
    )
    gains = (
        "The smallest and the largest gain of a subject, and the lowest end of the four "
        "subjects' paired 95 % intervals.\n\n"
    )
    put_section("quality", about + score_table(options.work, kinds))
    put_section("quality gains", gains + gain_table(options.work, kinds))
    put_section("quality thirds", third_table(options.work, kinds))


if __name__ == "__main__":
    main()
