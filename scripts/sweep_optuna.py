"""Search the settings of a model with Optuna: each trial is an experiment of DVC and a run in
MLflow.

    python scripts/sweep_optuna.py --subject subj01 --model low_level --trials 20 \
        learning_rate=log:1e-4:1e-2 dropout=0:0.5 hidden_size=256,512,1024

Settings are chosen by the correlation on validation images. The study is kept in optuna.db; the
same command continues it. Needs the extra: pip install -c constraints.txt -e '.[sweep]'
"""

import argparse
import json
import subprocess
import sys

import dvc.api
import optuna

from fmri2img.project.error_lines import tell_errors
from fmri2img.project.exceptions import ConfigError, UnavailableError
from fmri2img.project.layout import training_path

METRIC = "validation/pattern_correlation"


def draw(trial: optuna.Trial, spec: str) -> tuple[str, object]:
    """Return a setting's name and the value to try, from NAME=LOW:HIGH, NAME=log:LOW:HIGH or
    NAME=A,B,C.
    """
    name, _, values = spec.partition("=")
    if "," in values:
        return name, trial.suggest_categorical(name, values.split(","))
    *kind, low, high = values.split(":")
    try:
        return name, trial.suggest_float(name, float(low), float(high), log=kind == ["log"])
    except ValueError as error:
        raise ConfigError(
            f"{spec}: expected NAME=LOW:HIGH, NAME=log:LOW:HIGH or NAME=A,B,C"
        ) from error


def run_trial(name: str, subject: str, model: str, settings: dict[str, object]) -> float:
    """Train in a copy of the project; returns the score on validation images."""
    changes = [
        part
        for key, value in settings.items()
        for part in ("--set-param", f"train.{model}.{key}={value}")
    ]
    command = [
        sys.executable,
        "-m",
        "dvc",
        "exp",
        "run",
        "--temp",
        "--name",
        name,
        *changes,
        f"train@{subject}-{model}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(
            f"experiment {name}: {done.stderr.strip().splitlines()[-1]}; run it alone: "
            f"{' '.join(command[2:])}"
        )
    # Read the experiment's file: if the settings were tried before, DVC takes the result from its
    # cache and trains nothing.
    with dvc.api.open(training_path(subject, model).as_posix(), rev=name) as file:
        return float(json.load(file)[METRIC])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("settings", nargs="+", metavar="NAME=RANGE")
    options = parser.parse_args()
    with tell_errors(debug=False):
        title = f"{options.subject}-{options.model}".replace("_", "-")
        study = optuna.create_study(
            study_name=title,
            direction="maximize",
            storage="sqlite:///optuna.db",
            load_if_exists=True,
        )
        # Another seed, so that a continued study does not repeat its trials.
        study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))

        def objective(trial: optuna.Trial) -> float:
            settings = dict(draw(trial, spec) for spec in options.settings)
            return run_trial(f"{title}-{trial.number}", options.subject, options.model, settings)

        study.optimize(objective, n_trials=options.trials)
        print(f"best: {study.best_value:.4f} with {study.best_params}")
        print(f"to use it: dvc exp apply {title}-{study.best_trial.number}")


if __name__ == "__main__":
    main()
