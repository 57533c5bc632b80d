"""The verbs of ``fmri2img`` for the pipeline as a whole: check its parameters, run stages, say why
they would run, show disk use, keep results after an edit of code.
"""

import argparse
import shutil
import sys
import time

from fmri2img.pipeline.checks import check_once, check_project
from fmri2img.project.disk_use import disk_use
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.params_file import load_params
from fmri2img.project.threads import pin_threads
from fmri2img.provenance.accept import Decision, accept
from fmri2img.provenance.notes import ACCEPTED_PATH
from fmri2img.provenance.why import Pipeline, explain


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the command ``fmri2img``."""
    check = verbs.add_parser(
        "check",
        help="check params.yaml, and that everything it needs is there; run nothing",
    )
    check.add_argument(
        "--raw",
        action="store_true",
        help="also read each subject's volumes as a whole, and say what holds; minutes to hours",
    )
    check.set_defaults(run=check_params)
    run = verbs.add_parser(
        "repro",
        help="bring stages up to date, in parallel as far as cores and memory allow; all stages by "
        "default",
    )
    run.add_argument("stages", nargs="*", metavar="STAGE", help="such as train@subj01-ridge")
    run.add_argument(
        "--jobs",
        type=_at_least_one,
        help="largest number of stages at a time; by default as many as cores allow",
    )
    run.add_argument(
        "--scheduler",
        help="run stages on the workers of this Dask scheduler, instead of machine.dask_scheduler: "
        "an address, or the JSON file that it writes",
    )
    run.set_defaults(run=repro_stages)
    why = verbs.add_parser(
        "why", help="say which stages dvc repro would run, and what has changed for each"
    )
    why.add_argument(
        "stage",
        nargs="?",
        help="a stage, such as train or train@subj01-ridge, whose causes are all listed; by "
        "default the first cause of every stage",
    )
    why.set_defaults(run=say_why)
    disk = verbs.add_parser("disk", help="show what takes up disk space, and what may be cleared")
    disk.set_defaults(run=show_disk)
    keep = verbs.add_parser(
        "accept",
        help="keep results whose code changed without effect on them, or that cannot be made again "
        "here for lack of raw files",
    )
    keep.add_argument("stage", nargs="?", help="a stage, such as extract_betas; all if left out")
    keep.set_defaults(run=accept_results)


def check_params(options: argparse.Namespace) -> None:
    """Check the project, and print the numbers of its subjects and models; check the raw files if
    asked to.
    """
    params = check_project()
    subjects, models = len(params.subjects), len(params.models)
    print(
        f"params.yaml is valid: {subjects} subject{'s' * (subjects != 1)}, {models} "
        f"model{'s' * (models != 1)}"
    )
    if options.raw:
        from fmri2img.datasets.raw_checks import check_raw_files  # starts nibabel

        for line in check_raw_files(params):
            print(line, flush=True)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 1 or more")
    return int(text)


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def repro_stages(options: argparse.Namespace) -> None:
    """Run the stale stages, and print how many ran."""
    start = time.monotonic()
    pin_threads()
    check_once()
    # Starts multiprocessing.
    from fmri2img.pipeline.repro import repro

    params = load_params()
    if options.scheduler:
        changed = {"dask_scheduler": options.scheduler}
        params = params.model_copy(update={"machine": params.machine.model_copy(update=changed)})
    summary = repro(options.stages, params, n_jobs=options.jobs)
    fresh = summary.n_stages - len(summary.ran)
    if summary.ran:
        took = f"{time.monotonic() - start:.0f} s"
        ran = _counted(len(summary.ran), "stage ran", "stages ran")
        others = _counted(fresh, "was up to date", "were up to date")
        print(f"{ran}, {others}; {took}", file=sys.stderr)
    else:
        print(f"all {fresh} stages are up to date", file=sys.stderr)


def say_why(options: argparse.Namespace) -> None:
    """Print a line for each stale stage, or that there is none."""
    print(*explain(Pipeline.read(), options.stage), sep="\n")


def show_disk(options: argparse.Namespace) -> None:  # noqa: ARG001
    """Print the size of each part of the project, and how to clear it."""
    places = list(disk_use())
    width = max((len(place.title) for place, _ in places), default=0)
    for place, size in places:
        print(f"{size / 1e9:8.2f} GB  {place.title:{width}s}  {place.clearing}")
    free = shutil.disk_usage(".").free
    print(f"{free / 1e9:8.2f} GB  free on this disk")


def accept_results(options: argparse.Namespace) -> None:
    """Keep the results that may be kept, and print a line for each decision.

    Raises
    ------
    MismatchError
        If there are results to accept, and none of them may be.
    """
    decisions = accept(options.stage)
    kept = [decision for decision in decisions if decision.is_accepted]
    refused = [decision for decision in decisions if not decision.is_accepted]
    for line in _grouped(kept, "kept"):
        print(line)
    if not decisions:
        print("nothing to accept: no stage's code has changed since its last run")
    elif not kept:
        stages = f"{refused[0].stage}{f' and {len(refused) - 1} more' if len(refused) > 1 else ''}"
        raise MismatchError(f"{stages} cannot be accepted: {refused[0].words}")
    for line in _grouped(refused, "left"):
        print(line)
    if any(decision.names for decision in kept):
        print(
            f"noted in {ACCEPTED_PATH}; commit it: everything made from these results will name "
            "the code that made them",
            file=sys.stderr,
        )


def _grouped(decisions: list[Decision], verb: str) -> list[str]:
    """Return a line for each stage and reason, with the number of its items."""
    groups: dict[tuple[str, str], list[str]] = {}
    for decision in decisions:
        groups.setdefault(
            (decision.stage.partition("@")[0], decision.words.replace(decision.stage, "...")), []
        ).append(decision.stage)
    by_words: dict[str, list[str]] = {}
    for (stage, words), items in groups.items():
        name = stage if len(items) > 1 else items[0]
        by_words.setdefault(words.replace("...", name), []).append(
            f"{name} ({len(items)})" if len(items) > 1 else name
        )
    return [f"{verb} {', '.join(names)}: {words}" for words, names in by_words.items()]
