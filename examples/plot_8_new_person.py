"""
An encoder for a person with minutes of data
============================================

Learn from all subjects but the last what the voxels of each region respond to, and make an encoder
for the last from that and from the first minutes of scanning. This needs a project of at least two
subjects, such as the demo's; ``fmri2img adapt`` does the same from files.
"""

from pathlib import Path

import matplotlib.pyplot as plt

from fmri2img.models.registry import check_settings
from fmri2img.pipeline.adapt_subject import MODEL, adapt
from fmri2img.pipeline.new_person import NewPerson, describe
from fmri2img.pipeline.subject import SubjectData, open_prior
from fmri2img.project.params_file import load_params
from fmri2img.training.population_member import learn_voxel_priors

params = load_params()
settings = check_settings(MODEL, params.train[MODEL])
*others, name = sorted(path.stem for path in Path("data/examples").glob("*.h5"))
if not others:
    raise SystemExit(f"{name} is the only subject here, and there is nobody to learn from")

# %%
# What the others' voxels respond to, by region; their training images alone are used.
population = []
for other in others:
    files = SubjectData(other)
    learnt = learn_voxel_priors(files.examples(), files.split(), files.latents(), settings)
    population.append(learnt)
    print(f"{other}: {learnt.n_voxels.sum()} voxels in {len(learnt.regions)} regions")

# %%
# The new person. Each score is of images that the encoder of that duration has not seen.
files = SubjectData(name)
person = NewPerson(
    trials=files.trial_betas(),
    latents=files.latents(),
    prior=open_prior([other for other in others if other in params.population]),
    members=population,
    settings=settings,
    test_ids=files.split().ids("test"),
)
adaptation = adapt(person, minutes=[5, 10, 20, 40], seconds_per_trial=4.0)
numbers = describe(adaptation, person)
for one in numbers["durations"]:
    score = one["pattern_correlation"]
    print(
        f"{one['minutes']:5.1f} min, {one['n_trials']:4d} trials: latent r {score['value']:.3f} "
        f"[{score['low']:.3f}, {score['high']:.3f}], floor {score['floor']:.3f}"
    )
if numbers["data_source"] == "simulated":
    print("SIMULATED DATA: not results about real brains")

# %%
figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
minutes = [one["minutes"] for one in numbers["durations"]]
curve = [one["pattern_correlation"] for one in numbers["durations"]]
values = [one["value"] for one in curve]
below = [one["value"] - one["low"] for one in curve]
above = [one["high"] - one["value"] for one in curve]
axis.errorbar(minutes, values, [below, above], fmt="o-", color="0.2", capsize=3)
axis.plot(minutes, [one["floor"] for one in curve], color="0.6", label="floor")
axis.set(xlabel=f"minutes of {name}", ylabel="latent r")
axis.legend()
folder = Path("reports/examples")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "new_person.png", dpi=120)
