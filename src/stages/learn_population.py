"""Learn from a subject of the population what the voxels of each region respond to. Encoders of
other subjects use it as a prior; no response and no picture goes with it.
"""

from fmri2img.models.registry import check_settings
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import population_folder, voxel_priors_path
from fmri2img.project.params_file import load_params
from fmri2img.training.population_member import learn_voxel_priors


def main(subject: str, model: str) -> None:
    """Write the distributions, and remove files of subjects that left the population."""
    data, params = SubjectData(subject), load_params()
    examples = data.examples(on_disk=["images"])
    settings = check_settings(model, params.train[model])
    learnt = learn_voxel_priors(examples, data.split(), data.latents(), settings)
    learnt.save(voxel_priors_path(subject, model))
    for path in population_folder(model).glob("[!.]*.h5"):  # a dot: another stage is writing it
        if path.stem not in params.population:
            path.unlink(missing_ok=True)
    # MLflow takes seconds to load, and nothing above may wait for it or fail with it.
    from fmri2img.tracking.populations import log_population

    log_population(subject, model)


if __name__ == "__main__":
    run_stage(main)
