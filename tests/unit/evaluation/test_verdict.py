import pytest

from fmri2img.evaluation.verdict import verdict


def run(score, low, high, floor, p_value, is_champion=False):
    return {
        "means": {"model": {"pixcorr": score}, "grey": {"pixcorr": floor}},
        "interval": {"pixcorr": [low, high]},
        "p_holm": {"pixcorr": p_value},
        "champion": is_champion,
    }


def difference(subject, mean, p_holm, metric="pixcorr"):
    return {
        "subject": subject,
        "models": "bayes - ridge",
        "metric": metric,
        "mean": mean,
        "p_holm": p_holm,
    }


RUNS = {
    "subj01/ridge": run(0.5, 0.45, 0.55, 0.46, 0.2),
    "subj01/bayes": run(0.6, 0.55, 0.65, 0.46, 0.001, is_champion=True),
}


def test_who_is_not_better_than_chance_or_not_above_the_floor_is_named():
    champion, chance, floor = verdict(RUNS, [], 1000)
    assert champion == "Best on validation images: bayes for subj01."
    assert chance.startswith("Not all encoders are better than chance in all scores (perm")
    assert chance.endswith("Exceptions: subj01/ridge in PixCorr.")
    assert floor.startswith("Not all encoders are above the floor")
    assert floor.endswith("Exceptions: subj01/ridge in PixCorr.")


def test_where_nobody_fails_one_clause_says_so():
    _, chance, floor = verdict({"subj01/bayes": RUNS["subj01/bayes"]}, [], 1000)
    assert chance.startswith("All encoders are better than chance in all scores")
    assert floor.startswith("All encoders are above the floor in all scores")


def test_where_nobody_succeeds_that_is_said():
    failing = {f"subj{number:02d}/ridge": RUNS["subj01/ridge"] for number in range(1, 9)}
    _, chance, _ = verdict(failing, [], 1000)
    assert chance.startswith("No encoder is better than chance in all scores")
    assert chance.endswith("subj06/ridge in PixCorr; 2 more encoders in some.")


def test_a_p_that_is_no_number_is_no_success():
    _, chance, _ = verdict({"subj01/bayes": run(0.6, 0.5, 0.7, 0.1, float("nan"))}, [], 1000)
    assert "Exceptions: subj01/bayes in PixCorr" in chance


def test_too_few_permutations_are_not_called_chance():
    _, chance, _ = verdict(RUNS, [], 38)
    assert chance.startswith("Whether encoders are better than chance is not known. With 2 tests")
    assert chance.endswith("set evaluate.n_permutations to at least 40.")


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([("subj01", 0.1, 0.01)], "better in PixCorr"),
        ([("subj01", -0.1, 0.01)], "worse in PixCorr"),
        ([("subj01", 0.1, 0.05)], "no difference shown in PixCorr"),
        (
            [("subj01", 0.1, 0.01), ("subj02", 0.1, 0.01)],
            "better for both subjects in PixCorr",
        ),
        (
            [("subj01", 0.1, 0.2), ("subj02", 0.1, 0.2)],
            "no difference shown for any of 2 subjects in PixCorr",
        ),
        (
            [("subj01", 0.1, 0.01), ("subj02", -0.1, 0.01), ("subj03", 0.1, 0.01)],
            "better for 2, worse for 1 in PixCorr",
        ),
        # A distance: less is better.
        (
            [("subj01", 0.1, 0.01, "effnet_lite0_distance"), ("subj01", 0.1, 0.01)],
            "worse in EfficientNet-Lite0 distance; better in PixCorr",
        ),
    ],
)
def test_encoders_are_held_against_ridge_score_by_score(differences, expected):
    sentence = verdict(RUNS, [difference(*values) for values in differences], 1000)[-1]
    assert sentence == (
        f"bayes against ridge: {expected}. (Sign flips over the same images, p < .05 after Holm.)"
    )
