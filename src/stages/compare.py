"""Put all subjects and models side by side, and name each subject's champion."""

import numpy as np
import pandas as pd

from fmri2img.containers import Examples, Reconstructions
from fmri2img.evaluation.documents import (
    check_scored_alike,
    corrected_p,
    means_over_subjects,
    paired_differences,
)
from fmri2img.files import read_json, replacing, write_json, write_text
from fmri2img.layout import (
    comparison_path,
    encoding_scores_path,
    examples_path,
    metrics_path,
    reconstructions_path,
    scores_path,
    training_path,
)
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import run_stage
from fmri2img.viz.comparison import ComparedRun, comparison_figure, comparison_markdown
from fmri2img.viz.pages import comparison_page


def main() -> None:
    """Write the comparison; propose the best encoder of each subject as champion."""
    params = load_params()
    names = [(subject, model) for subject in params.subjects for model in params.models]
    documents = {
        f"{subject}/{model}": read_json(
            metrics_path(subject, model), remedy=f"dvc repro evaluate@{subject}-{model}"
        )
        for subject, model in names
    }
    check_scored_alike(documents)
    p_values = corrected_p(documents)
    runs, truth, ceiling = [], {}, {}
    for subject in params.subjects:
        trained = {
            model: read_json(
                training_path(subject, model), remedy=f"dvc repro train@{subject}-{model}"
            )
            for model in params.models
        }
        validation = {
            model: scores["validation/pattern_correlation"] for model, scores in trained.items()
        }
        champion = max(validation, key=lambda model: validation[model])
        for model in params.models:
            name = f"{subject}/{model}"
            reconstructions = Reconstructions.open(
                reconstructions_path(subject, model), remedy=f"dvc repro predict@{subject}-{model}"
            )
            rows = reconstructions.rows("test")[: params.compare.n_pictures]
            shown = reconstructions.images[rows]
            runs.append(
                ComparedRun.of(
                    subject,
                    model,
                    documents[name],
                    p_values[name],
                    validation[model],
                    model == champion,
                    shown,
                )
            )
            ceiling[subject] = reconstructions.ceiling[rows]
        examples = Examples.open(
            examples_path(subject), remedy=f"dvc repro create_examples@{subject}"
        )
        truth[subject] = examples.images[examples.rows_of(reconstructions.image_ids[rows])]
    data_source = examples.provenance["data_source"]
    _write(runs, documents, truth, ceiling, data_source)
    from fmri2img.tracking.runs import (
        log_comparison,
    )  # MLflow takes seconds to load, and nothing above may wait for it

    log_comparison(names, {run.subject: run.model for run in runs if run.is_champion})


def _write(
    runs: list[ComparedRun],
    documents: dict[str, dict],
    truth: dict,
    ceiling: dict[str, np.ndarray],
    data_source: str,
) -> None:
    with replacing(comparison_path("png")) as partial:
        comparison_figure(runs, truth, ceiling, data_source).savefig(partial, dpi=110)
    pages = [
        {
            "subject": run.subject,
            "model": run.model,
            "champion": run.is_champion,
            "document": documents[f"{run.subject}/{run.model}"],
        }
        for run in runs
    ]
    tables = {
        subject: {
            run.model: pd.read_csv(scores_path(subject, run.model))
            for run in runs
            if run.subject == subject
        }
        for subject in truth
    }
    differences = paired_differences(tables)
    means = means_over_subjects(tables)
    encoding = {
        subject: read_json(encoding_scores_path(subject), remedy="dvc repro fit_encoding_model")
        for subject in truth
    }
    figure = comparison_path("png").read_bytes()
    write_text(
        comparison_path("html"),
        comparison_page(pages, data_source, differences, means, encoding, figure),
    )
    write_text(
        comparison_path("md"), comparison_markdown(runs, data_source, comparison_path("png").name)
    )
    summaries = {f"{run.subject}/{run.model}": run.summary() for run in runs}
    write_json(
        comparison_path("json"),
        {"data_source": data_source, "runs": summaries, "means": means, "differences": differences},
    )


if __name__ == "__main__":
    run_stage(main)
