"""Fetch or locate the raw files of a further test set, and write the receipt that pins them."""

from fmri2img.datasets.fetching.fetch import check_not_pulled
from fmri2img.datasets.offers import open_ood
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.layout import ledger_path, ood_name, ood_path, receipt_path
from fmri2img.project.params_file import load_params
from fmri2img.project.places import where_it_is
from fmri2img.project.progress import byte_progress
from fmri2img.provenance.receipts import Ledger, raw_files


def main(subject: str, test: str, check: bool, dry_run: bool) -> None:
    """Fetch one subject's files."""
    params, name = load_params(), ood_name(subject, test)
    dataset, receipt = open_ood(params, test), receipt_path(name)
    if check:
        raw = raw_files(name, params.machine)
        raw.check(watch=byte_progress)
        print(f"{name}: all {len(raw.receipt.files)} files under {raw.root} are those of {receipt}")
    elif dry_run:
        for line in dataset.preview_fetch(name):
            print(line)
    else:
        check_not_pulled(name, dataset.is_here(), receipt, [ood_path(subject, test)])
        ledger = Ledger(where_it_is(ledger_path(name)))
        dataset.fetch_ood(name, ledger, watch=byte_progress).save(receipt)


if __name__ == "__main__":
    run_stage(main)
