"""Fetch or locate the raw files of a further test set, and write the receipt that pins them."""

from fmri2img.datasets.protocol import open_ood
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.layout import ledger_path, ood_name, receipt_path
from fmri2img.project.params_file import load_params
from fmri2img.project.places import where_it_is
from fmri2img.project.progress import byte_progress
from fmri2img.provenance.receipts import Ledger


def main(subject: str, test: str) -> None:
    """Fetch one subject's files."""
    name = ood_name(subject, test)
    dataset = open_ood(load_params(), test)
    ledger = Ledger(where_it_is(ledger_path(name)))
    dataset.fetch_ood(name, ledger, watch=byte_progress).save(receipt_path(name))


if __name__ == "__main__":
    run_stage(main)
