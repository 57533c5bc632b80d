"""Bring raw files within reach in NSD's own layout, and write the receipt that pins them."""

from fmri2img.config import ProjectParams
from fmri2img.fetching.fetch import (
    check_may_simulate,
    check_not_pulled,
    fetch_bucket,
    list_bucket,
    use_local,
)
from fmri2img.layout import ledger_path, receipt_path, voxels_path
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import byte_progress, run_stage
from fmri2img.provenance.receipts import Ledger, Receipt, raw_files
from fmri2img.simulation.dataset import SimulatedSubject
from fmri2img.simulation.stimuli_files import simulate_shared


def main(subject: str, check: bool, dry_run: bool) -> None:
    """Fetch one subject's files, or with ``shared`` those that all subjects share."""
    params = load_params()
    ledger = Ledger(ledger_path(subject))
    if check:
        raw = raw_files(subject, params.machine)
        raw.check(watch=byte_progress)
        print(
            f"{subject}: all {len(raw.receipt.files)} files under {raw.root} are those of "
            f"{receipt_path(subject)}"
        )
    elif dry_run and params.fetch_nsd.source == "s3":
        list_bucket(subject, params)
    elif dry_run:
        print(f"{subject}: source {params.fetch_nsd.source} downloads nothing")
    else:
        _fetch(subject, params, ledger).save(receipt_path(subject))


def _fetch(subject: str, params: ProjectParams, ledger: Ledger) -> Receipt:
    root, source = params.machine.raw_root, params.fetch_nsd.source
    subjects = params.subjects if subject == "shared" else [subject]
    check_not_pulled(subject, root, receipt_path(subject), [voxels_path(one) for one in subjects])
    if source == "s3":
        return fetch_bucket(subject, params, root, ledger, watch=byte_progress)
    if source == "local":
        return use_local(subject, params, root, ledger, watch=byte_progress)
    check_may_simulate(root)
    if subject == "shared":
        files = simulate_shared(root, params.nsd, params.fetch_nsd.simulation, params.subjects)
    else:
        files = SimulatedSubject(subject, params.nsd, params.fetch_nsd, root).write()
    return Receipt.of(subject, root, files, ledger)


if __name__ == "__main__":
    run_stage(main)
