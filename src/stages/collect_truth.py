"""Put the test images of all subjects aside as the dataset stores them: evaluation compares with
them, without raw files.
"""

import numpy as np

from fmri2img.datasets.picture_join import collect_truth
from fmri2img.datasets.protocol import open_dataset
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import truth_path
from fmri2img.project.params_file import load_params
from fmri2img.project.progress import progress
from fmri2img.provenance.receipts import raw_files


def main() -> None:
    """Write the true pictures."""
    params = load_params()
    splits = [SubjectData(subject).split() for subject in params.subjects]
    image_ids = np.unique(np.concatenate([split.ids("test") for split in splits]))
    shared = raw_files("shared", params.machine)
    truth = collect_truth(image_ids, open_dataset(params), shared, progress=progress("pictures"))
    truth.save(truth_path())


if __name__ == "__main__":
    run_stage(main)
