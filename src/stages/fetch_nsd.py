"""Bring raw files to data/raw in NSD's own layout, and write the receipt that pins them."""

from fmri2img.command import run_stage
from fmri2img.config import load_params
from fmri2img.exceptions import ConfigError
from fmri2img.layout import RAW_ROOT, receipt_path
from fmri2img.receipts import Receipt
from fmri2img.simulation.dataset import SimulatedSubject, simulate_shared


def main(subject: str) -> None:
    """Fetch one subject's files, or with ``shared`` those that all subjects share."""
    params = load_params()
    if params.fetch_nsd.source != "simulated":
        raise ConfigError(f"params.yaml: fetch_nsd.source: {params.fetch_nsd.source} is not available in this version; set it to simulated")
    if subject == "shared":
        files = simulate_shared(RAW_ROOT, params.nsd, params.fetch_nsd.simulation, params.subjects)
    else:
        files = SimulatedSubject(subject, params.nsd, params.fetch_nsd, RAW_ROOT).write()
    Receipt.of(subject, params.fetch_nsd.source, RAW_ROOT, files).save(receipt_path(subject))


if __name__ == "__main__":
    run_stage(main)
