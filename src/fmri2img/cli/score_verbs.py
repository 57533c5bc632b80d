"""The verbs of ``fmri2img`` that show scores, and score pictures of any origin."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fmri2img.project.exceptions import ConfigError
from fmri2img.project.files import write_json
from fmri2img.project.layout import comparison_path


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the command."""
    verb = verbs.add_parser(
        "metrics", help="show the headline scores of all encoders beside their floors"
    )
    verb.add_argument("subject", nargs="?", help="all if left out")
    verb.set_defaults(run=show_metrics)
    verb = verbs.add_parser(
        "evaluate", help="score reconstructions of any origin against the pictures that were seen"
    )
    verb.add_argument(
        "reconstructions",
        type=Path,
        help="folder of pictures named by id, or HDF5 file with image_ids and images",
    )
    verb.add_argument(
        "truth",
        type=Path,
        help="the true pictures, in the same form, such as data/truth/<subject>.h5 (test images)",
    )
    verb.add_argument(
        "--subset",
        action="store_true",
        help="leave out pictures that only one side has; without this option they are an error",
    )
    verb.add_argument("--to", type=Path, help="write all numbers there as JSON")
    verb.add_argument(
        "--networks",
        nargs="*",
        default=["effnet_lite0"],
        metavar="NAME",
        help="networks whose features to compare: effnet_lite0 (included), alexnet, inception, "
        "clip, effnet_b, swav, or all; the others are downloaded from their makers' hubs",
    )
    verb.add_argument(
        "--weights",
        type=Path,
        help="folder that holds the networks' weights, instead of fetching them",
    )
    verb.set_defaults(run=evaluate)


def show_metrics(options: argparse.Namespace) -> None:
    """Print the table of the last comparison."""
    from fmri2img.viz.summary import read_comparison, terminal_summary  # starts torch

    comparison, runs = read_comparison(comparison_path("json"), remedy="fmri2img repro")
    shown = [run for run in runs if options.subject in (None, run["name"].partition("/")[0])]
    if not shown:
        subjects = dict.fromkeys(run["name"].partition("/")[0] for run in runs)
        raise ConfigError(
            f"{options.subject}: no such subject in {comparison_path('json')}; choose from: "
            f"{', '.join(subjects)}"
        )
    sentences = [] if options.subject else comparison.get("verdict", [])
    print(terminal_summary(shown, comparison["data_source"], [], sentences).strip())


def _left_out(truth: Sequence[str], predicted: Sequence[str]) -> str:
    """Say how many pictures have no partner."""
    sides = (
        (len(set(truth) - set(predicted)), "without a reconstruction"),
        (len(set(predicted) - set(truth)), "reconstructions without truth"),
    )
    phrases = [f"{number} {words}" for number, words in sides if number]
    return f", {' and '.join(phrases)} left out" if phrases else ""


def evaluate(options: argparse.Namespace) -> None:
    """Print scores beside their floors."""
    from fmri2img.evaluation.inference import p_text
    from fmri2img.evaluation.metrics.catalogue import title_of
    from fmri2img.evaluation.network_features import open_networks

    # Starts torch, which other verbs need not wait for.
    from fmri2img.evaluation.picture_folders import (
        evaluate_pictures,
        join,
        read_pictures,
    )
    from fmri2img.evaluation.read_outs import NETWORK_NAMES

    names = NETWORK_NAMES if options.networks == ["all"] else options.networks
    if unknown := [name for name in names if name not in NETWORK_NAMES]:
        raise ConfigError(
            f"--networks: there is no {unknown[0]!r}; choose from: {', '.join(NETWORK_NAMES)}, all"
        )
    truth, predicted = read_pictures(options.truth), read_pictures(options.reconstructions)
    joined = join(truth, predicted, subset=options.subset)
    document = evaluate_pictures(*joined, open_networks(names, options.weights))
    if options.to:
        write_json(options.to, document)
    titles = {metric: title_of(metric) for metric in document["scores"]}
    width = max(map(len, titles.values())) + 2
    about = document["about"]
    print(f"{about['n_images']} images{_left_out(truth.ids, predicted.ids)}")
    print(f"{'':{width}s}{'score':>7s}  {'95 % interval':17s}{'shuffled':>9s}{'grey':>7s}")
    for metric, value in document["scores"].items():
        low, high = document["interval"][metric]
        floors = [document[floor].get(metric) for floor in ("floor_shuffled", "floor_grey")]
        cells = "".join(
            f"{'' if floor is None else f'{floor:.3f}':>{width}s}"
            for floor, width in zip(floors, (9, 7), strict=True)
        )
        print(f"{titles[metric]:{width}s}{value:7.3f}  {f'{low:.3f} to {high:.3f}':17s}{cells}")
    print(
        "↓: lower is better; 2-way, AlexNet, Inception and CLIP: share of other images, chance 0.5"
    )
    print(
        "p of pairing at random: "
        f"{', '.join(f'{title_of(name)} {p_text(value)}' for name, value in document['p'].items())}"
    )
    if about["constant_reconstructions"]:
        print(
            f"{about['constant_reconstructions']} reconstructions are uniformly grey; their "
            "PixCorr counts as 0"
        )
