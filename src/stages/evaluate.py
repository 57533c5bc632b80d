"""Score an encoder on the test images, beside floors and ceiling."""

from fmri2img.containers import (
    DiffusionTargets,
    EncodingModel,
    Examples,
    Latents,
    Reconstructions,
    TruePictures,
)
from fmri2img.evaluation.diffusion_scores import identify_by_samples, score_halves
from fmri2img.evaluation.documents import (
    latent_map_table,
    metrics_document,
    repetition_table,
    score_table,
)
from fmri2img.evaluation.network_scores import open_networks
from fmri2img.evaluation.score import join_truth, model_rows, score_model
from fmri2img.files import read_json, write_json, write_text
from fmri2img.layout import (
    encoding_model_path,
    encoding_scores_path,
    examples_path,
    latent_map_path,
    latents_path,
    metrics_path,
    reconstructions_path,
    references_path,
    repetitions_path,
    report_path,
    scores_path,
    split_path,
    targets_path,
    truth_path,
)
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import run_stage
from fmri2img.responses.splits import Split
from fmri2img.viz.pages import ReportData, run_page


def main(subject: str, model: str) -> None:
    """Write the metrics of one encoder, and only then add them to its run."""
    params = load_params()
    examples = Examples.open(examples_path(subject), remedy=f"dvc repro create_examples@{subject}")
    split = Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
    latents = Latents.open(latents_path(subject), remedy=f"dvc repro encode_latents@{subject}")
    found = Reconstructions.open(
        reconstructions_path(subject, model), remedy=f"dvc repro predict@{subject}-{model}"
    )
    pictures = TruePictures.open(truth_path(), remedy="dvc repro collect_truth")
    encoding = EncodingModel.open(
        encoding_model_path(subject), remedy=f"dvc repro fit_encoding_model@{subject}"
    )
    references = read_json(references_path(subject), remedy=f"dvc repro score_references@{subject}")
    networks = open_networks(params.evaluate.networks, params.machine.weights_folder)
    truth = join_truth(examples, split, latents, pictures, encoding)
    rows, parts = model_rows(truth, examples, split, latents, found, seed=params.evaluate.seed)
    settings = params.evaluate.model_dump()
    scores = score_model(
        truth,
        rows,
        parts,
        networks,
        **{name: settings[name] for name in ("n_permutations", "n_bootstrap", "seed")},
    )
    encoded = read_json(
        encoding_scores_path(subject), remedy=f"dvc repro fit_encoding_model@{subject}"
    )
    steering: dict[str, dict] = {}
    if len(found.samples):
        targets = DiffusionTargets.open(
            targets_path(subject, model), remedy=f"dvc repro make_targets@{subject}-{model}"
        )
        how = {name: settings[name] for name in ("n_bootstrap", "seed")}
        halves = score_halves(
            found, targets, split, **how, n_permutations=settings["n_permutations"]
        )
        seen = pictures.of(found.image_ids[found.rows("test")])
        steering = {
            "halves": halves,
            "identification_by_samples": identify_by_samples(seen, found.samples, networks, **how),
        }
    document = metrics_document(
        scores, truth, found, split, references, settings=settings, steering=steering
    )
    profile = scores.profile.reshape(found.latents.shape[1:])
    write_json(metrics_path(subject, model), document)
    write_text(scores_path(subject, model), score_table(scores.rows, truth.image_ids))
    write_text(repetitions_path(subject, model), repetition_table(scores))
    write_text(latent_map_path(subject, model), latent_map_table(profile))
    ceiling = found.ceiling[found.rows("test")]
    data = ReportData(
        subject=subject,
        model=model,
        document=document,
        encoding=encoded,
        per_image=scores.rows.per_image,
        image_ids=truth.image_ids,
        seen=truth.small,
        ceiling=ceiling,
        reconstructed=rows.pictures["model"],
        profile=profile,
    )
    write_text(report_path(subject, model), run_page(data))
    from fmri2img.tracking.runs import (
        log_encoder,
    )  # MLflow takes seconds to load, and nothing above may wait for it

    log_encoder(subject, model)


if __name__ == "__main__":
    run_stage(main)
