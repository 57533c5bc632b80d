"""Put the test images of all subjects aside as NSD stores them: evaluation compares with them,
without raw files.
"""

import numpy as np

from fmri2img.layout import split_path, truth_path
from fmri2img.nsd.picture_join import collect_truth
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import progress, run_stage
from fmri2img.provenance.receipts import raw_files
from fmri2img.responses.splits import Split


def main() -> None:
    """Write the true pictures."""
    params = load_params()
    splits = [
        Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
        for subject in params.subjects
    ]
    image_ids = np.unique(np.concatenate([split.ids("test") for split in splits]))
    collect_truth(
        image_ids, raw_files("shared", params.machine), progress=progress("pictures")
    ).save(truth_path())


if __name__ == "__main__":
    run_stage(main)
