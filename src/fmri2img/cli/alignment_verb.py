"""The verb ``fmri2img check-alignment``."""

import argparse

from fmri2img.project.exceptions import ConfigError, MismatchError
from fmri2img.project.params_file import load_params, near
from fmri2img.project.progress import progress


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command."""
    verb = verbs.add_parser(
        "check-alignment",
        help="say whether trials, pictures and volumes belong together",
    )
    verb.add_argument("subjects", nargs="*", metavar="SUBJECT", help="all by default")
    verb.set_defaults(run=check)


def check(options: argparse.Namespace) -> None:
    """Print what fits for each subject.

    Raises
    ------
    ConfigError
        If there is no such subject.
    MismatchError
        If something does not belong together; all subjects are checked first.
    """
    from fmri2img.pipeline.subject_alignment import check_subject, report  # starts torch

    known = load_params().subjects
    if unknown := [name for name in options.subjects if name not in known]:
        raise ConfigError(
            f"check-alignment: there is no subject {unknown[0]!r}{near(unknown[0], known)}; choose "
            f"from: {', '.join(known)}"
        )
    faults = {}
    for subject in options.subjects or known:
        others = [name for name in known if name != subject]
        alignment = check_subject(subject, others, progress(subject))
        print(*report(alignment), sep="\n", flush=True)
        if fault := alignment.finding.fault:
            faults[subject] = fault
    if faults:
        subject, fault = next(iter(faults.items()))
        more = f" ({len(faults)} subjects in all)" if len(faults) > 1 else ""
        raise MismatchError(
            f"{subject}: {fault}{more}; correct the table or the volumes, and run: dvc repro "
            f"--force --single-item fetch_raw@{subject} (fetch_raw_shared, if the pictures were "
            "wrong), then fmri2img repro"
        )
