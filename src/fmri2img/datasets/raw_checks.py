"""Read all raw files of the project's subjects, and say what holds for them."""

from collections.abc import Iterator

from fmri2img.datasets.nsd.whole_files import check_whole_files
from fmri2img.datasets.protocol import check_dataset_settings
from fmri2img.project.config import ProjectParams
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import raw_files


def check_raw_files(params: ProjectParams) -> Iterator[str]:
    """Yield a line for each fact about the files of each subject.

    Raises
    ------
    MissingDataError, ChangedDataError
        If a file of a receipt is not there, or another than was recorded.
    MismatchError
        After the last line, if something does not hold.
    """
    settings = check_dataset_settings(params.dataset, params.datasets)
    if not isinstance(settings, NsdParams):
        yield f"{params.dataset}: its stages read all of its files; there is nothing more to check"
        return
    faults = []
    for subject in params.subjects:
        for finding in check_whole_files(raw_files(subject, params.machine), settings):
            files = f"{finding.n_files} file{'s' * (finding.n_files != 1)}"
            yield f"{subject}: {'not so' if finding.fault else 'ok'}: {finding.fact} ({files})"
            faults += [finding.fault] if finding.fault else []
    if faults:
        raise MismatchError(
            f"{len(faults)} fact{'s' * (len(faults) != 1)} about the raw files do not hold, first: "
            f"{faults[0]}"
        )
