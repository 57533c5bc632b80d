import pytest

from fmri2img.evaluation.verdict import verdict


def run(score, low, high, floor, p_value, is_champion=False):
    return {
        "means": {"model": {"pixcorr": score}, "grey": {"pixcorr": floor}},
        "interval": {"pixcorr": [low, high]},
        "p_holm": {"pixcorr": p_value},
        "champion": is_champion,
        "n_test_images": 37,
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
    champion, images, chance, floor = verdict(RUNS, [], 1000)
    assert champion == "Best on validation images: bayes for subj01."
    assert images == "Scores are means over 37 test images."
    assert chance.startswith("Not all encoders are better than chance in all scores (perm")
    assert chance.endswith("Exceptions: subj01/ridge in PixCorr.")
    assert floor.startswith("Not all encoders are above the floor")
    assert floor.endswith("Exceptions: subj01/ridge in PixCorr.")


def test_where_nobody_fails_one_clause_says_so():
    *_, chance, floor = verdict({"subj01/bayes": RUNS["subj01/bayes"]}, [], 1000)
    assert chance.startswith("All encoders are better than chance in all scores")
    assert floor.startswith("All encoders are above the floor in all scores")


def test_where_nobody_succeeds_that_is_said():
    failing = {f"subj{number:02d}/ridge": RUNS["subj01/ridge"] for number in range(1, 9)}
    *_, chance, _ = verdict(failing, [], 1000)
    assert chance.startswith("No encoder is better than chance in all scores")
    assert chance.endswith("subj06/ridge in PixCorr; 2 more encoders in some.")


def test_a_p_that_is_no_number_is_no_success():
    *_, chance, _ = verdict({"subj01/bayes": run(0.6, 0.5, 0.7, 0.1, float("nan"))}, [], 1000)
    assert "Exceptions: subj01/bayes in PixCorr" in chance


def test_too_few_permutations_are_not_called_chance():
    *_, chance, _ = verdict(RUNS, [], 38)
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
            "no difference shown for either subject in PixCorr",
        ),
        (
            [("subj01", 0.1, 0.01), ("subj02", -0.1, 0.01), ("subj03", 0.1, 0.01)],
            "better for subj01 and subj03, worse for subj02 in PixCorr",
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


def test_images_are_counted_by_subject_and_simulated_data_are_called_so():
    runs = RUNS | {"subj02/ridge": RUNS["subj01/ridge"]}
    _, images, *_ = verdict(runs, [], 1000, is_simulated=True)
    assert images == (
        "Scores are means over 37 test images of each subject; the data are simulated."
    )
    runs["subj02/ridge"] = runs["subj02/ridge"] | {"n_test_images": 40}
    _, images, *_ = verdict(runs, [], 1000)
    assert images == "Scores are means over 37 (subj01) and 40 (subj02) test images."


def test_without_a_champion_that_is_said():
    none = {"subj01/ridge": RUNS["subj01/ridge"]}
    assert verdict(none, [], 1000)[0] == "No encoder was chosen on validation images."


def test_worse_predictions_of_responses_are_told_as_well():
    worse = difference("subj01", -0.1, 0.01, "brain_correlation")
    alike = [
        difference("subj01", 0.1, 0.4, "brain_correlation") | {"models": f"{model} - ridge"}
        for model in ("blend", "low_level")
    ]
    *_, sentence = verdict(RUNS, [], 1000, brain_differences=[worse, *alike])
    assert sentence.startswith(
        "Brain responses predicted from reconstructions, against ridge: worse (bayes); no "
        "difference shown (blend and low_level)."
    )
