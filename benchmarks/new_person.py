"""Time and memory of ``fmri2img adapt`` at NSD's real size on this machine (``python
benchmarks/new_person.py``): an encoder from 40 minutes of 15 724 voxels, and the curve of quality
that goes with it.

Made-up data with a linear relation, and a made-up population.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from measuring import put_section, run_measured, say, sized, table

from fmri2img.containers.latents import Latents
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.datasets.nsd.design import UNITS
from fmri2img.models.registry import model_class
from fmri2img.pipeline.adapt_subject import MODEL, adapt
from fmri2img.pipeline.new_person import NewPerson

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
N_IMAGES, N_OTHERS, N_VOXELS = sized((400, 1000, 15_724), (40, 4, 28))
MINUTES = sized([5.0, 10.0, 20.0, 40.0], [1.0, 2.0])
SECONDS = 4.0
N_REGIONS, N_CHANNELS = 7, 16
LIMIT_SECONDS = 120  # on two cores


def make_person() -> NewPerson:
    """Make what the verb reads."""
    generator = torch.Generator().manual_seed(0)
    n = N_IMAGES + N_OTHERS
    coarse = torch.randn(n, 4, 4, 4, generator=generator)
    values = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear").numpy()
    energies = torch.randn(n, 12, 8, 8, generator=generator).numpy()
    n_trials = round(60 * MINUTES[-1] / SECONDS)
    shown = torch.arange(n_trials) % N_IMAGES
    mixing = torch.randn(64, N_VOXELS, generator=generator) / 30
    signal = coarse[shown].flatten(1) @ mixing
    betas = 300 * (signal + 2 * torch.randn(signal.shape, generator=generator))
    about = {
        "subject": "subj01",
        "data_source": "simulated",
        "func_space": "func1pt8mm",
        "roi_names": {str(label): f"region {label}" for label in range(N_REGIONS)},
        "units": UNITS.record(),
        "n_repetitions": 3,
    }
    numbers, one = np.arange(n_trials), np.ones(1, np.int16)
    trials = TrialBetas(
        voxel_ijk=np.zeros((N_VOXELS, 3), np.int16),
        roi_labels=(np.arange(N_VOXELS) % N_REGIONS).astype(np.int16),
        ncsnr=np.ones(N_VOXELS, np.float32),
        training_ncsnr=np.full(N_VOXELS, np.nan, np.float32),
        in_brain=np.ones(N_VOXELS, bool),
        sessions=one,
        valid=np.ones((1, N_VOXELS), bool),
        saturated=np.zeros((1, N_VOXELS), np.int16),
        affine=np.eye(4),
        provenance=about,
        betas=betas.round().numpy().astype(np.int16),
        image_ids=shown.numpy(),
        is_shared=np.zeros(n_trials, bool),
        session=one.repeat(n_trials),
        run=(1 + numbers // 63).astype(np.int16),
        trial=(1 + numbers % 63).astype(np.int16),
        repetition=(numbers // N_IMAGES).astype(np.int8),
    )
    network = {
        "autoencoder": {"name": "made up", "sha256": "0"},
        "data_source": "simulated",
    }
    pictures = Latents(np.arange(n), values, energies, network)
    settings = model_class(MODEL).Settings.model_validate(
        yaml.safe_load(PARAMS.read_text())["train"][MODEL]
    )
    other = VoxelPriors(
        np.array([f"region {label}" for label in range(N_REGIONS)]),
        np.full(N_REGIONS, 2000),
        np.zeros((N_REGIONS, N_CHANNELS), np.float32),
        np.stack([np.eye(N_CHANNELS, dtype=np.float32) * 0.02] * N_REGIONS),
        np.full((N_REGIONS, 3), 1 / 3, np.float32),
        np.arange(n, n + 100),
        about | network | {"subject": "subj02", "settings": settings.model_dump()},
    )
    others = pictures.only(np.arange(N_IMAGES, n))
    return NewPerson(trials, pictures, others, [other], settings, np.zeros(0, np.int64))


def child() -> None:
    """Adapt once."""
    torch.set_num_threads(sized(2, 1))
    person = make_person()
    start = time.perf_counter()
    adaptation = adapt(person, minutes=MINUTES, seconds_per_trial=SECONDS)
    scores = [float(one.scores["pattern_correlation"].mean()) for one in adaptation.durations]
    say({"seconds": time.perf_counter() - start, "scores": scores})


def main() -> None:
    """Measure in a process of its own, and write the table."""
    if sys.argv[1:2] == ["--child"]:
        child()
        return
    measured = run_measured([sys.executable, __file__, "--child"], every=0.5)
    found = json.loads(measured.output.splitlines()[-1])
    print(found, measured.peak_mb, flush=True)
    minutes = ", ".join(f"{one:g}" for one in MINUTES)
    row = [
        f"{N_VOXELS} voxels, {round(60 * MINUTES[-1] / SECONDS)} trials; curve at {minutes} min",
        f"{found['seconds']:.0f}",
        str(LIMIT_SECONDS),
        f"{measured.peak_mb / 1000:.1f}",
    ]
    put_section(
        "a new person", table(["`fmri2img adapt`", "seconds", "limit", "peak memory, GB"], [row])
    )


if __name__ == "__main__":
    main()
