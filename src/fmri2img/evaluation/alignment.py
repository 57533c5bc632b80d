"""Whether trials, pictures and volumes belong together.

A linear model from simple features of pictures predicts the responses to pictures that it was not
fitted on. The prediction is compared with what was measured under each assumption about what was
shown when: as the tables say, one trial later, the table of another session, and so on. If a table
is right, its pictures predict the responses best.

The match of a trial is the cosine between the predicted and the measured pattern over voxels, each
z-scored within sessions; it is 0 on average for pictures that were not shown.

Trials of test images take no part, neither with their responses nor with their pictures.
"""

from dataclasses import dataclass

import numpy as np

from fmri2img.evaluation.correlation import row_correlations
from fmri2img.evaluation.shown_trials import (
    GIVEN,
    OTHER_SESSION,
    SHUFFLED,
    ShownTrials,
    assumed_tables,
)

# A fit needs about this many trials; it stands out from nothing at so many standard errors.
FEWEST_TRIALS = 60
CLEAR = 5.0
# Of the mean variance of a feature: penalties, of which the best counts for each assumption alike.
_PENALTIES = (0.03, 0.3, 3.0)
_N_FOLDS = 4


@dataclass(frozen=True)
class Features:
    """What pictures hold, in numbers.

    Attributes
    ----------
    values : ndarray, shape (n_pictures, n_features), float32
        Of the left half of the picture first, then of its right half.
    n_left : int
        How many describe the left half.
    """

    values: np.ndarray
    n_left: int


@dataclass(frozen=True)
class Match:
    """How well pictures predict the responses under one assumption.

    Attributes
    ----------
    name : str
    trials : ndarray, shape (n_trials,), float32
        Match of each trial; NaN: not used.
    """

    name: str
    trials: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over trials; 0 if there are too few."""
        return float(np.nanmean(self.trials)) if self.n_trials >= FEWEST_TRIALS else 0.0

    @property
    def n_trials(self) -> int:
        """Number of trials that were used."""
        return int(np.isfinite(self.trials).sum())

    @property
    def standard_errors(self) -> float:
        """How many standard errors the mean is above 0."""
        return _standard_errors(self.trials)

    def above(self, other: "Match") -> float:
        """How many standard errors it is above another, over the trials that both use."""
        return _standard_errors(self.trials - other.trials)


@dataclass(frozen=True)
class Finding:
    """What is known of one subject's alignment.

    Attributes
    ----------
    matches : list of Match
        Of all trials, the assumption that fits best first.
    sessions : dict of int to str
        Sessions whose own table another assumption fits better than, if the tables fit as a whole.
    side : float
        How many standard errors the half of the picture opposite to a hemisphere predicts its
        voxels better than the half on its side.
    explained : ndarray, shape (n_voxels,), float32
        Percent of each voxel's variance over trials that pictures explain, under the assumption
        that fits best.
    fault : str
        What is wrong, in words; empty: nothing.
    """

    matches: list[Match]
    sessions: dict[int, str]
    side: float
    explained: np.ndarray
    fault: str

    def match(self, name: str) -> Match:
        """Return the match of one assumption."""
        return next(match for match in self.matches if match.name == name)


def check_alignment(
    shown: ShownTrials, features: Features, others: dict[str, np.ndarray], seed: int = 0
) -> Finding:
    """Compare the tables with other assumptions about what was shown when.

    Parameters
    ----------
    shown : ShownTrials
    features : Features
        Of all pictures.
    others : dict of str to ndarray, shape (n_trials,), int64
        Tables of other subjects at the same places, by name: rows of pictures, -1: none known.
    seed : int
        Of the shuffle and of the folds.
    """
    rng = np.random.default_rng(seed)
    assumptions = dict(assumed_tables(shown, others, rng))
    folds = rng.integers(_N_FOLDS, size=len(features.values))
    matches: list[Match] = []
    kept = np.empty(0)  # predictions take much memory: only the best ones are kept
    for name, pictures in assumptions.items():
        usable, predicted = shown.usable(pictures), _fit(shown, features.values, pictures, folds)
        match = Match(name, _trial_matches(predicted, pictures, shown.responses, usable))
        if not matches or match.mean > max(each.mean for each in matches):
            kept = predicted
        matches.append(match)
    matches.sort(key=lambda match: -match.mean)
    best = matches[0]
    if best.standard_errors < CLEAR or best.name == SHUFFLED:
        nothing = np.zeros(shown.responses.shape[1], np.float32)
        return Finding(matches, {}, 0.0, nothing, _nothing_fits(shown))
    given = next(match for match in matches if match.name == GIVEN)
    is_given = best.name == GIVEN or best.above(given) <= CLEAR
    local = _local_faults(shown, kept, assumptions) if is_given else {}
    side = _side(shown, features, assumptions[best.name], folds)
    fault = _words(best, local, side, is_given=is_given)
    explained = _explained(shown, kept, assumptions[best.name])
    return Finding(matches, local, side, explained, fault)


def _fit(
    shown: ShownTrials, features: np.ndarray, pictures: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Return the responses to all pictures that a ridge regression predicts, each fitted without
    the picture's fold, shape (n_pictures, n_voxels); of several penalties the best.
    """
    usable = shown.usable(pictures)
    rows, responses = pictures[usable], shown.responses[usable]
    predicted = np.zeros((len(_PENALTIES), len(features), responses.shape[1]), np.float32)
    if len(rows) < FEWEST_TRIALS:
        return predicted[0]
    n = features.shape[1]
    grams, products = np.zeros((_N_FOLDS, n, n)), np.zeros((_N_FOLDS, n, responses.shape[1]))
    for fold in range(_N_FOLDS):
        of_fold = folds[rows] == fold
        values = features[rows[of_fold]]
        grams[fold] = values.T @ values
        products[fold] = values.T @ responses[of_fold]
    for fold in range(_N_FOLDS):
        gram, product = grams.sum(0) - grams[fold], products.sum(0) - products[fold]
        scale, held_out = np.trace(gram) / n, folds == fold
        variances, axes = np.linalg.eigh(gram)
        turned, values = axes.T @ product, features[held_out] @ axes
        for place, penalty in enumerate(_PENALTIES):
            weights = turned / (np.maximum(variances, 0) + penalty * scale)[:, None]
            predicted[place, held_out] = values @ weights
    means = [np.nanmean(_cosines(one[rows], responses)) for one in predicted]
    return predicted[int(np.argmax(means))]


def _cosines(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return the cosine of each row with its partner, shape (n,); NaN for a row of zeros."""
    lengths = np.linalg.norm(predicted, axis=1) * np.linalg.norm(measured, axis=1)
    products = np.einsum("ij,ij->i", predicted, measured)
    return np.divide(products, lengths, out=np.full(len(products), np.nan), where=lengths > 0)


def _trial_matches(
    predicted: np.ndarray, pictures: np.ndarray, responses: np.ndarray, usable: np.ndarray
) -> np.ndarray:
    matches = np.full(len(pictures), np.nan, np.float32)
    matches[usable] = _cosines(predicted[pictures[usable]], responses[usable])
    return matches


def _explained(shown: ShownTrials, predicted: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Return the squared correlation of each voxel over trials, in percent, 0 if it is negative."""
    usable = shown.usable(pictures)
    correlations = row_correlations(shown.responses[usable].T, predicted[pictures[usable]].T)
    explained: np.ndarray = 100 * np.maximum(np.nan_to_num(correlations), 0) ** 2
    return explained


def _standard_errors(values: np.ndarray) -> float:
    """Return how many standard errors the mean of the finite values is above 0."""
    finite = values[np.isfinite(values)]
    if len(finite) < FEWEST_TRIALS // 3 or not finite.std():
        return 0.0
    return float(finite.mean() / (finite.std(ddof=1) / np.sqrt(len(finite))))


def _local_faults(
    shown: ShownTrials, predicted: np.ndarray, assumptions: dict[str, np.ndarray]
) -> dict[int, str]:
    """Return the sessions that another assumption fits better than their table, with its name."""
    usable = shown.usable(shown.pictures)
    given = Match(GIVEN, _trial_matches(predicted, shown.pictures, shown.responses, usable))
    candidates = {
        name: pictures
        for name, pictures in assumptions.items()
        if name not in (GIVEN, SHUFFLED, OTHER_SESSION)
    }
    faults = {}
    for session in shown.sessions:
        rows = shown.session == session
        tried = candidates | {
            f"of session {other}": shown.exchanged(session, other)
            for other in shown.sessions
            if other != session
        }
        better = {}
        for name, pictures in tried.items():
            usable = rows & shown.usable(pictures)
            match = Match(name, _trial_matches(predicted, pictures, shown.responses, usable))
            # Many are tried: what wins by chance does not win by so much.
            if match.above(given) > CLEAR and match.standard_errors > CLEAR:
                better[match.mean] = name
        if better:
            faults[session] = better[max(better)]
    return faults


def _side(shown: ShownTrials, features: Features, pictures: np.ndarray, folds: np.ndarray) -> float:
    """Return how clearly a hemisphere's voxels follow the opposite half of the picture: the left
    hemisphere sees the right half of the visual field.
    """
    if shown.is_left is None:
        return 0.0
    usable, difference = shown.usable(pictures), []
    halves = [features.values[:, : features.n_left], features.values[:, features.n_left :]]
    left, right = (
        _matches_by_side(shown, _fit(shown, half, pictures, folds), pictures, usable)
        for half in halves
    )
    for opposite, same in ((right[0], left[0]), (left[1], right[1])):
        if np.isfinite(opposite).any():
            difference.append(opposite - same)
    return _standard_errors(np.mean(difference, axis=0)) if difference else 0.0


def _matches_by_side(
    shown: ShownTrials, predicted: np.ndarray, pictures: np.ndarray, usable: np.ndarray
) -> list[np.ndarray]:
    """Return the matches of the left hemisphere's voxels, and of the right one's."""
    is_left = np.asarray(shown.is_left)
    return [
        _trial_matches(predicted[:, voxels], pictures, shown.responses[:, voxels], usable)
        for voxels in (is_left, ~is_left)
    ]


def _nothing_fits(shown: ShownTrials) -> str:
    n_usable = int((shown.pictures >= 0).sum())
    if n_usable < FEWEST_TRIALS:
        return f"{n_usable} trials can be used, expected {FEWEST_TRIALS} at least"
    return (
        "nothing fits: pictures do not predict the responses better than shuffled ones, neither as "
        "given nor under another assumption"
    )


def _words(best: Match, local: dict[int, str], side: float, *, is_given: bool) -> str:
    if not is_given:
        return f"the pictures {best.name} fit better than those of the table, in all sessions"
    if local:
        return _sessions_in_words(local)
    if side < -CLEAR:
        return (
            "left and right are exchanged: each hemisphere follows the half of the picture on its "
            "own side; the pictures are mirrored, or the volumes are"
        )
    return ""


def _sessions_in_words(local: dict[int, str]) -> str:
    pairs = {
        (session, other)
        for session in local
        for other in local
        if session < other
        and local[session] == f"of session {other}"
        and local[other] == f"of session {session}"
    }
    paired = {session for pair in pairs for session in pair}
    words = [f"the tables of sessions {one} and {two} are exchanged" for one, two in sorted(pairs)]
    by_name: dict[str, list[int]] = {}
    for session, name in local.items():
        if session not in paired:
            by_name.setdefault(name, []).append(session)
    words += [
        f"in session{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))} the pictures {name} "
        "fit better than those of the table"
        for name, numbers in by_name.items()
    ]
    return "; ".join(words)
