"""Collect what maps of a subject's voxels are drawn over: a volume, and a way to the surface."""

import logging

from fmri2img.containers.anatomy import Anatomy
from fmri2img.datasets.offers import open_anatomy
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.config import ProjectParams
from fmri2img.project.layout import anatomy_name, anatomy_path, ledger_path
from fmri2img.project.params_file import load_params
from fmri2img.project.places import where_it_is
from fmri2img.project.progress import byte_progress
from fmri2img.provenance.receipts import Ledger, RawFiles

log = logging.getLogger(__name__)


def main(subject: str) -> None:
    """Write the anatomy; one of no size if nothing is asked for, or there."""
    _collect(subject, load_params()).save(anatomy_path(subject))


def _collect(subject: str, params: ProjectParams) -> Anatomy:
    examples = SubjectData(subject).examples(on_disk=["images", "betas"])
    settings, dataset = params.collect_anatomy, open_anatomy(params)
    is_asked_for = settings.underlay != "none" or settings.surface
    if dataset is None or not is_asked_for:
        return Anatomy.nothing(subject, examples.provenance["data_source"])
    if not dataset.is_here():
        return _without_raw_files(subject, examples.provenance["data_source"])
    name = anatomy_name(subject)
    ledger = Ledger(where_it_is(ledger_path(name)))
    receipt = dataset.fetch_anatomy(name, ledger, watch=byte_progress)
    raw = RawFiles(receipt, params.machine.raw_folder, ledger)
    anatomy = dataset.read_anatomy(raw, subject, settings, examples.grid)
    if settings.underlay != "none" and not anatomy.has_underlay:
        log.info("%s: the tree has no volume %s to draw over", subject, settings.underlay)
    if settings.surface and not anatomy.has_surface:
        log.info("%s: the tree has no transforms to fsaverage", subject)
    return anatomy


def _without_raw_files(subject: str, data_source: str) -> Anatomy:
    """Keep the anatomy that came from a colleague, if there is one."""
    path = anatomy_path(subject)
    if path.exists():
        anatomy = Anatomy.open(path, remedy=f"fmri2img pull (or delete {path})", subject=subject)
        if anatomy.has_underlay or anatomy.has_surface:
            log.warning("%s: no raw files here: %s is kept as it came", subject, path)
            return anatomy
    log.warning("%s: no raw files here: its maps are drawn without anatomy", subject)
    return Anatomy.nothing(subject, data_source)


if __name__ == "__main__":
    run_stage(main)
