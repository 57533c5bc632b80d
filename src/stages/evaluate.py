"""Score an encoder on the test images, beside floors and ceiling."""

import json

from fmri2img.command import run_stage
from fmri2img.config import load_params
from fmri2img.containers import Examples, Latents, Reconstructions, TruePictures
from fmri2img.evaluation.report import flat_metrics, metrics_document, picture_pairs, score_table
from fmri2img.evaluation.score import collect_test_set, score_test_set
from fmri2img.files import hash_file, read_json, write_json, write_text
from fmri2img.layout import (
    encoder_folder,
    examples_path,
    latents_path,
    metrics_path,
    reconstructions_path,
    report_path,
    scores_path,
    split_path,
    training_path,
    truth_path,
)
from fmri2img.models.registry import CONFIG_NAME, WEIGHTS_NAME
from fmri2img.responses.splits import Split
from fmri2img.viz.report import ReportData, run_page


def main(subject: str, model: str) -> None:
    """Write the metrics of one encoder, and add them to its run."""
    params = load_params().evaluate
    examples = Examples.open(examples_path(subject), remedy=f"dvc repro create_examples@{subject}")
    split = Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
    latents = Latents.open(latents_path(subject), remedy=f"dvc repro encode_latents@{subject}")
    found = Reconstructions.open(reconstructions_path(subject, model), remedy=f"dvc repro predict@{subject}-{model}")
    ridge = Reconstructions.open(reconstructions_path(subject, "ridge"), remedy=f"dvc repro predict@{subject}-ridge")
    truth = TruePictures.open(truth_path(), remedy="dvc repro collect_truth")
    test = collect_test_set(examples, split, latents, truth, found, ridge, seed=params.seed)
    scores = score_test_set(test, n_permutations=params.n_permutations, n_bootstrap=params.n_bootstrap, seed=params.seed)
    document = metrics_document(scores, test, found, split, settings=params.model_dump())
    write_json(metrics_path(subject, model), document)
    write_text(scores_path(subject, model), score_table(scores, test))
    data = ReportData(
        subject=subject,
        model=model,
        document=document,
        per_image=scores.per_image,
        image_ids=test.image_ids,
        seen=test.pictures["resize_ceiling"],
        ceiling=test.pictures["vae_ceiling"],
        reconstructed=test.pictures["model"],
        profile=scores.profile.reshape(found.latents.shape[1:]),
    )
    write_text(report_path(subject, model), run_page(data))
    _log(subject, model, flat_metrics(document), picture_pairs(test))


def _log(subject: str, model: str, metrics: dict, pictures: dict) -> None:
    """Add scores and pictures to the run that trained the encoder; make that run anew if the store has none."""
    from fmri2img.tracking.runs import encoder_run, find_run

    folder = encoder_folder(subject, model)
    tracker = find_run(hash_file(folder / WEIGHTS_NAME, "md5"))
    if tracker is None:
        config = json.loads((folder / CONFIG_NAME).read_text())
        config["about"] |= {"restored": "true"}
        trained = read_json(training_path(subject, model), remedy=f"dvc repro train@{subject}-{model}")
        dependencies = [examples_path(subject), split_path(subject), latents_path(subject)]
        tracker = encoder_run(config, folder, dependencies, [], trained)
    tracker.log_metrics(metrics)
    tracker.log_pictures(pictures)
    tracker.finish()


if __name__ == "__main__":
    run_stage(main)
