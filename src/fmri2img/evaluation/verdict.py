"""What a comparison says, in sentences made from its numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fmri2img.evaluation.inference import too_few_resamples
from fmri2img.evaluation.metrics.catalogue import all_metrics, headline_metrics
from fmri2img.evaluation.metrics.declaration import Metric
from fmri2img.evaluation.metrics_document import Floor, floor_of
from fmri2img.evaluation.table_rows import MODEL, REFERENCE

_LEVEL = 0.05
_MOST_NAMED = 6
TIE = "no difference shown"  # neither better nor worse than ridge
_Runs = Mapping[str, Mapping[str, Any]]


def verdict(
    runs: _Runs,
    differences: Iterable[Mapping[str, Any]],
    n_permutations: int,
    *,
    brain_differences: Iterable[Mapping[str, Any]] = (),
    is_simulated: bool = False,
) -> list[str]:
    """Return whom the encoders beat: chance, their floors and ridge, and where they do not.

    Parameters
    ----------
    runs : mapping of str to mapping
        Encoder, such as subj01/ridge, to its numbers, as in ``reports/comparison.json``.
    differences : iterable of mapping
        Paired differences from ridge (`comparisons.paired_differences`).
    n_permutations : int
        Permutations behind each p of a run.
    brain_differences : iterable of mapping
        The same for the responses that reconstructions predict (`comparisons.brain_differences`).
    is_simulated : bool

    Returns
    -------
    list of str
        Sentences; each says which test or interval it rests on.
    """
    return [
        _champions(runs),
        _scored_on(runs, is_simulated=is_simulated),
        _above_chance(runs, n_permutations),
        _all_but(
            "above the floor",
            _not_above_floor(runs),
            "95 % interval, beside the best prediction that knows nothing of the image",
        ),
        *_against_reference(list(differences)),
        *_of_responses(list(brain_differences)),
    ]


def _champions(runs: _Runs) -> str:
    subjects: dict[str, list[str]] = {}
    for name, run in runs.items():
        if run["champion"]:
            subject, _, model = name.partition("/")
            subjects.setdefault(model, []).append(subject)
    if not subjects:
        return "No encoder was chosen on validation images."
    chosen = "; ".join(f"{model} for {_joined(names)}" for model, names in subjects.items())
    return f"Best on validation images: {chosen}."


def _scored_on(runs: _Runs, *, is_simulated: bool) -> str:
    """Say how many images the scores are means over, and whether the data are simulated."""
    numbers = {name.partition("/")[0]: run["n_test_images"] for name, run in runs.items()}
    if len(set(numbers.values())) == 1:
        whose = " of each subject" if len(numbers) > 1 else ""
        images = f"{next(iter(numbers.values()))} test images{whose}"
    else:
        images = f"{_joined(f'{n} ({subject})' for subject, n in numbers.items())} test images"
    return f"Scores are means over {images}{'; the data are simulated' if is_simulated else ''}."


def _above_chance(runs: _Runs, n_permutations: int) -> str:
    """Say which encoders have scores that chance may explain; too few permutations cannot tell."""
    n_tests = sum(len(run["p_holm"]) for run in runs.values())
    if note := too_few_resamples(n_tests, n_permutations, "set evaluate.n_permutations to"):
        return f"Whether encoders are better than chance is not known. {note}"
    failing = {
        name: [metric for metric, p_value in run["p_holm"].items() if not p_value < _LEVEL]
        for name, run in runs.items()
    }
    return _all_but("better than chance", failing, "permutations, p < .05 after Holm")


def _not_above_floor(runs: _Runs) -> dict[str, list[str]]:
    """Return the headline scores of each encoder whose interval holds the floor or lies beyond."""
    failing: dict[str, list[str]] = {}
    for name, run in runs.items():
        failing[name] = []
        for metric, declared in headline_metrics().items():
            floor = floor_of(metric, run["means"])
            if floor is None or metric not in run["means"][MODEL]:
                continue
            if not is_above_floor(declared, run["interval"][metric], floor):
                failing[name].append(metric)
    return failing


def is_above_floor(metric: Metric, interval: Sequence[float], floor: Floor | None) -> bool:
    """Whether a score's whole 95 % interval is better than its floor; true if it has none."""
    if floor is None:
        return True
    low, high = interval
    return low > floor.value if metric.higher_is_better else high < floor.value


def _all_but(claim: str, failing: dict[str, list[str]], basis: str) -> str:
    """Say that all encoders fulfil a claim in all scores, or which do not."""
    exceptions = {name: metrics for name, metrics in failing.items() if metrics}
    if not exceptions:
        return f"All encoders are {claim} in all scores ({basis})."
    listed = [
        f"{name} in {_joined(map(_plain_title, metrics))}" for name, metrics in exceptions.items()
    ]
    if len(listed) > _MOST_NAMED:
        rest = len(listed) - _MOST_NAMED
        listed = [*listed[:_MOST_NAMED], f"{rest} more encoders in some"]
    start = "No encoder is" if len(exceptions) == len(failing) else "Not all encoders are"
    return f"{start} {claim} in all scores ({basis}). Exceptions: {'; '.join(listed)}."


def _against_reference(differences: list[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each pair of encoders: in which scores one is better, and for how many
    subjects.
    """
    sentences = []
    for models in dict.fromkeys(item["models"] for item in differences):
        groups = _by_outcome([item for item in differences if item["models"] == models], "metric")
        parts = [
            f"{outcome} in {_joined(map(_plain_title, metrics))}"
            for outcome, metrics in groups.items()
        ]
        sentences.append(f"{_without_reference(models)} against {REFERENCE}: {'; '.join(parts)}.")
    if sentences:
        sentences[-1] += " (Sign flips over the same images, p < .05 after Holm.)"
    return sentences


def _of_responses(differences: list[Mapping[str, Any]]) -> list[str]:
    """Return one sentence on how well reconstructions predict responses, beside those of ridge."""
    if not differences:
        return []
    parts = [
        f"{outcome} ({_joined(map(_without_reference, models))})"
        for outcome, models in _by_outcome(differences, "models").items()
    ]
    return [
        f"Brain responses predicted from reconstructions, against {REFERENCE}: {'; '.join(parts)}. "
        "(Sign flips over images that were shown again, p < .05 after Holm.)"
    ]


def _by_outcome(differences: list[Mapping[str, Any]], key: str) -> dict[str, list[str]]:
    """Group metrics or models, whichever ``key`` names, by their outcome in words."""
    n_subjects = len({item["subject"] for item in differences})
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(item[key] for item in differences):
        results = {one["subject"]: outcome_of(one) for one in differences if one[key] == name}
        groups.setdefault(_counted(results, n_subjects), []).append(name)
    return groups


def _without_reference(models: str) -> str:
    return models.removesuffix(f" - {REFERENCE}")


def outcomes(differences: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return how each encoder compares with ridge: encoder, such as subj01/bayes, to metric to
    ``better``, ``worse`` or `TIE`.
    """
    compared: dict[str, dict[str, str]] = {}
    for item in differences:
        model = _without_reference(item["models"])
        compared.setdefault(f"{item['subject']}/{model}", {})[item["metric"]] = outcome_of(item)
    return compared


def outcome_of(difference: Mapping[str, Any]) -> str:
    """Return whether an encoder is ``better`` or ``worse`` than ridge in a score, or `TIE`."""
    if not difference["p_holm"] < _LEVEL:
        return TIE
    is_higher = difference["mean"] > 0
    return "better" if is_higher == _higher_is_better(difference["metric"]) else "worse"


def _counted(outcomes: Mapping[str, str], n_subjects: int) -> str:
    """Return for whom each outcome came, such as "better for subj01, worse for subj05"."""
    groups: dict[str, list[str]] = {}
    for subject, outcome in outcomes.items():
        groups.setdefault(outcome, []).append(subject)
    if len(groups) == 1 and len(outcomes) == n_subjects:
        (outcome,) = groups
        if n_subjects == 1:
            return outcome
        if outcome == TIE:
            whom = "either subject" if n_subjects == 2 else f"any of {n_subjects} subjects"
            return f"{outcome} for {whom}"
        return f"{outcome} for {'both' if n_subjects == 2 else f'all {n_subjects}'} subjects"
    return ", ".join(
        f"{outcome} for "
        f"{_joined(subjects) if len(subjects) <= _MOST_NAMED else f'{len(subjects)} subjects'}"
        for outcome, subjects in sorted(groups.items())
    )


def _higher_is_better(metric: str) -> bool:
    declared = all_metrics().get(metric)
    return declared is None or declared.higher_is_better


def _plain_title(metric: str) -> str:
    declared = all_metrics().get(metric)
    return declared.title if declared else metric.replace("_", " ")


def _joined(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
