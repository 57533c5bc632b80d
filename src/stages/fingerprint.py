"""Write a fingerprint of each stage's code, so that an edit re-runs only the stages it can
affect.
"""

from fmri2img.pipeline.stage import run_stage
from fmri2img.project.layout import FINGERPRINTS
from fmri2img.provenance.stage_fingerprints import write_fingerprints


def main() -> None:
    """Write a fingerprint for each stage."""
    write_fingerprints(FINGERPRINTS)


if __name__ == "__main__":
    run_stage(main)
