"""Fetch or locate raw files, and write the receipt that pins them."""

from fmri2img.datasets.fetching.fetch import check_not_pulled
from fmri2img.datasets.protocol import open_dataset
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.config import ProjectParams
from fmri2img.project.layout import ledger_path, receipt_path, voxels_path
from fmri2img.project.params_file import load_params
from fmri2img.project.places import where_it_is
from fmri2img.project.progress import byte_progress
from fmri2img.provenance.receipts import Ledger, raw_files


def main(subject: str, check: bool, dry_run: bool) -> None:
    """Fetch one subject's files, or with ``shared`` those that all subjects share."""
    params = load_params()
    if check:
        raw = raw_files(subject, params.machine)
        raw.check(watch=byte_progress)
        print(
            f"{subject}: all {len(raw.receipt.files)} files under {raw.root} are those of "
            f"{receipt_path(subject)}"
        )
    elif dry_run:
        for line in open_dataset(params).preview_fetch(subject):
            print(line)
    else:
        _fetch(subject, params)


def _fetch(subject: str, params: ProjectParams) -> None:
    dataset = open_dataset(params)
    subjects = params.subjects if subject == "shared" else [subject]
    voxels = [voxels_path(one) for one in subjects]
    check_not_pulled(subject, dataset.is_here(), receipt_path(subject), voxels)
    receipt = dataset.fetch_files(
        subject, Ledger(where_it_is(ledger_path(subject))), watch=byte_progress
    )
    receipt.save(receipt_path(subject))


if __name__ == "__main__":
    run_stage(main)
