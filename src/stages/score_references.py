"""Score what every encoder of a subject is compared with: floors, ceilings and ridge, once for
all.
"""

from fmri2img.containers import EncodingModel, Examples, Latents, Reconstructions, TruePictures
from fmri2img.evaluation.documents import references_document
from fmri2img.evaluation.network_scores import open_networks
from fmri2img.evaluation.score import join_truth, reference_rows, score_rows
from fmri2img.files import write_json
from fmri2img.layout import (
    encoding_model_path,
    examples_path,
    latents_path,
    reconstructions_path,
    references_path,
    split_path,
    truth_path,
)
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import run_stage
from fmri2img.responses.splits import Split


def main(subject: str) -> None:
    """Write the scores of the subject's reference rows."""
    params = load_params()
    examples = Examples.open(examples_path(subject), remedy=f"dvc repro create_examples@{subject}")
    split = Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
    latents = Latents.open(latents_path(subject), remedy=f"dvc repro encode_latents@{subject}")
    ridge = Reconstructions.open(
        reconstructions_path(subject, "ridge"), remedy=f"dvc repro predict@{subject}-ridge"
    )
    pictures = TruePictures.open(truth_path(), remedy="dvc repro collect_truth")
    encoding = EncodingModel.open(
        encoding_model_path(subject), remedy=f"dvc repro fit_encoding_model@{subject}"
    )
    networks = open_networks(params.evaluate.networks, params.machine.weights_folder)
    truth = join_truth(examples, split, latents, pictures, encoding)
    scores = score_rows(truth, reference_rows(truth, examples, split, ridge), networks)
    write_json(
        references_path(subject),
        references_document(scores, truth, settings=params.evaluate.model_dump()),
    )


if __name__ == "__main__":
    run_stage(main)
