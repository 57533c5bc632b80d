"""Fit the encoding model from latents to voxels, and report how much of each region's signal it
explains.
"""

from fmri2img.evaluation.documents import encoding_document
from fmri2img.evaluation.encoding_fit import (
    ceiling_source,
    fit_encoding_model,
    score_encoding_model,
)
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.files import replacing_together, write_json
from fmri2img.project.layout import (
    encoding_model_path,
    encoding_scores_path,
)
from fmri2img.project.params_file import load_params


def main(subject: str) -> None:
    """Write the encoding model and its scores."""
    params = load_params().fit_encoding_model
    examples = SubjectData(subject).examples()
    split = SubjectData(subject).split()
    latents = SubjectData(subject).latents()
    model = fit_encoding_model(examples, split, latents, params)
    regions = score_encoding_model(
        model, examples, split, latents, min_noise_ceiling=params.min_noise_ceiling
    )
    document = encoding_document(
        regions, examples.provenance, ceiling_source(examples), settings=params.model_dump()
    )
    with replacing_together():
        model.save(encoding_model_path(subject))
        write_json(encoding_scores_path(subject), document)


if __name__ == "__main__":
    run_stage(main)
