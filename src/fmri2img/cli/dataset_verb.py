"""The verb of ``fmri2img`` that begins a dataset of one's own."""

import argparse
from pathlib import Path

from fmri2img.project.exceptions import ConfigError


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command."""
    verb = verbs.add_parser(
        "new-dataset",
        help="look at your own experiment in a folder, write the files that declare it, and say "
        "what is missing",
    )
    verb.add_argument("folder", type=Path)
    verb.add_argument("--title", help="its name in tables and on pages; the folder's if left out")
    verb.add_argument("--unit", help="unit of the betas, such as 'percent signal change'")
    verb.add_argument("--terms", help="who may have the data, in a sentence; '' for anybody")
    verb.add_argument(
        "--test-fraction", type=float, help="share of images for tests (0.1 if left out)"
    )
    verb.add_argument(
        "--test-sessions",
        type=int,
        nargs="+",
        default=(),
        help="set the images of these sessions apart for tests instead",
    )
    verb.set_defaults(run=begin_dataset)


def begin_dataset(options: argparse.Namespace) -> None:
    """Write ``dataset.yaml`` and ``pictures.csv`` where they are not, and list what is missing."""
    from fmri2img.datasets.folder.survey import Survey, TestImages

    if not options.folder.is_dir():
        raise ConfigError(f"{options.folder} is not a folder; name the one that holds your data")
    if options.test_fraction is not None and not 0 < options.test_fraction < 1:
        raise ConfigError(
            f"--test-fraction: got {options.test_fraction}, expected a share between 0 and 1; "
            "correct it"
        )
    values = {key: getattr(options, key) for key in ("title", "unit", "terms")}
    told = {key: value for key, value in values.items() if value is not None}
    survey = Survey(options.folder)
    survey.complete(told, TestImages(options.test_fraction, tuple(options.test_sessions)))
    print(*survey.notes, sep="\n")
    if survey.missing:
        print("missing:", *(f"  {line}" for line in survey.missing), sep="\n")
        raise ConfigError(
            f"{options.folder}: {len(survey.missing)} of the things it needs are missing, first "
            f"{survey.missing[0].split(': ')[0]}; add them, and run the same command again"
        )
    subjects, sets = ", ".join(survey.facts["subjects"]), survey.sets or ["(a set of regions)"]
    others = ", ".join(sets[1:])
    print(
        "complete; change in params.yaml:",
        "",
        "dataset: folder",
        f"subjects: [{subjects}]",
        f"population: [{subjects}]",
        "machine:",
        f"  raw_root: {options.folder.resolve()}",
        "convert_roi:",
        f"  roi: {sets[0]}{f'   # or {others}' if others else ''}",
        "  drawn_in: func        # regions lie on the grid of the betas",
        "",
        "then run: fmri2img repro, and fmri2img check-alignment",
        sep="\n",
    )
