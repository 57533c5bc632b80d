"""The verb of ``fmri2img`` that makes an encoder for a new person from minutes of scanning."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.files import replacing_together, write_json, write_text
from fmri2img.project.layout import (
    latents_path,
    population_folder,
    prior_path,
    split_path,
    voxels_path,
)
from fmri2img.project.params_file import load_params

if TYPE_CHECKING:
    from fmri2img.containers.voxel_priors import VoxelPriors
    from fmri2img.pipeline.new_person import NewPerson

_MINUTES = (5.0, 10.0, 20.0, 40.0)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command."""
    verb = verbs.add_parser(
        "adapt", help="make an encoder for a new person from the first minutes of scanning"
    )
    verb.add_argument("person", help="a subject of this project, or a voxel file")
    verb.add_argument(
        "--to", type=Path, required=True, help="folder for the encoder and the page about it"
    )
    verb.add_argument(
        "--population",
        nargs="+",
        help="what was learnt from other people: files, folders of them, or versions in the "
        "registry (models:/population-MODEL-SUBJECT/NUMBER); by default this project's",
    )
    verb.add_argument(
        "--latents", type=Path, help="latents of the pictures; by default the subject's"
    )
    verb.add_argument(
        "--minutes",
        type=float,
        nargs="+",
        default=_MINUTES,
        help="durations to judge (5 10 20 40); those beyond the data are left out",
    )
    verb.add_argument(
        "--seconds-per-trial", type=float, default=4.0, help="from onset to onset (NSD: 4)"
    )
    verb.set_defaults(run=adapt_person)


def adapt_person(options: argparse.Namespace) -> None:
    """Write encoder, numbers and page, and print what they say."""
    if min(options.minutes) <= 0 or options.seconds_per_trial <= 0:
        raise ConfigError(
            f"--minutes {min(options.minutes):g}, --seconds-per-trial "
            f"{options.seconds_per_trial:g}: expected times above 0; correct them"
        )
    person = _open(options)
    # Starts torch, which a wrong option need not wait for.
    from fmri2img.evaluation.metrics.catalogue import ADAPTATION_METRICS
    from fmri2img.models.registry import save_verified
    from fmri2img.pipeline.adapt_subject import MODEL, adapt
    from fmri2img.pipeline.new_person import about_encoder, describe
    from fmri2img.viz.adaptation import adaptation_page, verdict

    adaptation = adapt(
        person, minutes=list(options.minutes), seconds_per_trial=options.seconds_per_trial
    )
    numbers = describe(adaptation, person)
    about = about_encoder(adaptation, person)
    with replacing_together():
        save_verified(adaptation.encoder, MODEL, options.to, about, adaptation.betas)
        write_json(options.to / "adaptation.json", numbers)
        write_text(options.to / "adaptation.html", adaptation_page(numbers))
    for one in numbers["durations"]:
        score, pairs = (one[name] for name in ADAPTATION_METRICS)
        print(
            f"{one['minutes']:6.3g} min  {one['n_trials']:5d} trials  latent r "
            f"{score['value']:z.3f} [{score['low']:z.3f}, {score['high']:z.3f}] (floor "
            f"{score['floor']:z.3f})  2-way {pairs['value']:z.3f} [{pairs['low']:z.3f}, "
            f"{pairs['high']:z.3f}]"
        )
    print(verdict(numbers))
    if numbers["data_source"] == "simulated":
        print("SIMULATED DATA: a simulated brain")
    print(f"encoder: {options.to} (fmri2img decode BETAS --model {options.to} --to PICTURES)")
    print(f"page: {options.to / 'adaptation.html'}")


def _open(options: argparse.Namespace) -> "NewPerson":
    """Open all files."""
    from fmri2img.containers.latents import Latents
    from fmri2img.containers.splits import Split
    from fmri2img.containers.trial_betas import TrialBetas
    from fmri2img.features.prior import pool_pictures
    from fmri2img.models.registry import check_settings
    from fmri2img.pipeline.adapt_subject import MODEL
    from fmri2img.pipeline.new_person import NewPerson

    is_file = Path(options.person).suffix == ".h5"
    path = Path(options.person) if is_file else voxels_path(options.person)
    remedy = "fmri2img repro extract_betas" + ("" if is_file else f"@{options.person}")
    trials = TrialBetas.open(path, remedy=remedy, subject="" if is_file else options.person)
    subject = trials.provenance["subject"]
    params = load_params()
    latents = Latents.open(
        options.latents or latents_path(subject),
        remedy=f"fmri2img repro encode_latents@{subject}, or name a file (--latents)",
    )
    members = [
        member
        for member in _members(options.population or [str(population_folder(MODEL))])
        if member.provenance["subject"] != subject
    ]
    if not members:
        raise MissingDataError(
            f"{', '.join(options.population or [str(population_folder(MODEL))])}: nothing learnt "
            f"from people other than {subject}; list {MODEL} in params.yaml (models: population), "
            "then run: fmri2img repro"
        )
    pictures = [prior_path(name) for name in params.population if prior_path(name).exists()]
    opened = [Latents.open(file, remedy="fmri2img repro collect_prior") for file in pictures]
    prior = pool_pictures(opened) if opened else latents.only(latents.image_ids[:0])
    if MODEL not in params.train:
        raise ConfigError(
            f"{PARAMS_PATH}: train.{MODEL}: there are no such settings; copy them from the "
            f"{PARAMS_PATH} of a new project"
        )
    settings = check_settings(MODEL, params.train[MODEL])
    test_ids = trials.image_ids[:0]
    if (split := split_path(subject)).exists():
        test_ids = Split.open(split, remedy="fmri2img repro split_examples").ids("test")
    return NewPerson(trials, latents, prior, members, settings, test_ids)


def _members(places: list[str]) -> Iterator["VoxelPriors"]:
    """Open what was learnt from each person, in files, folders or the registry."""
    from fmri2img.containers.voxel_priors import VoxelPriors

    with tempfile.TemporaryDirectory() as temporary:
        for place in places:
            if place.startswith("models:"):
                from fmri2img.tracking.populations import download_population
                from fmri2img.tracking.store import required

                with required():
                    files = [download_population(place, Path(tempfile.mkdtemp(dir=temporary)))]
            else:
                path = Path(place)
                files = [path] if path.suffix == ".h5" else sorted(path.glob("[!.]*.h5"))
            for file in files:
                yield VoxelPriors.open(file, remedy="fmri2img repro learn_population")
