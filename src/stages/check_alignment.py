"""Say whether a subject's trials, pictures and volumes belong together."""

import logging

from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject_alignment import check_subject
from fmri2img.project.files import write_json
from fmri2img.project.layout import alignment_path
from fmri2img.project.progress import progress


def main(subject: str) -> None:
    """Write what fits how well; a mistake is a warning here, and stands on the first page."""
    document = check_subject(subject, [], progress(subject)).to_json()
    write_json(alignment_path(subject), document)
    if fault := document["fault"]:
        logging.getLogger(__name__).warning(
            "%s: %s; see: fmri2img check-alignment %s", subject, fault, subject
        )


if __name__ == "__main__":
    run_stage(main)
