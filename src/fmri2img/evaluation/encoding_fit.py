"""The way back from latents to voxels: a ridge regression, fitted on training images."""

import numpy as np
from himalaya.ridge import RidgeCV
from sklearn.model_selection import KFold

from fmri2img.config import FitEncodingModelParams
from fmri2img.containers import EncodingModel, Examples, Latents
from fmri2img.responses.repetitions import average_zscored
from fmri2img.responses.splits import Split


def fit_encoding_model(
    examples: Examples, split: Split, latents: Latents, params: FitEncodingModelParams
) -> EncodingModel:
    """Fit by ridge regression on averages of training images, with a penalty for each voxel chosen
    by cross-validation over images.

    Parameters
    ----------
    examples, split, latents
        The subject's.
    params : FitEncodingModelParams

    Returns
    -------
    EncodingModel
    """
    train_ids = split.ids("train")
    trials = examples.trials_of(train_ids)
    responses = average_zscored(examples, trials, trials)
    features = latents.of(train_ids).reshape(len(train_ids), -1)
    latent_mean, response_mean = features.mean(axis=0), responses.mean(axis=0)
    ridge = RidgeCV(
        alphas=np.asarray(params.penalties, dtype=np.float32),
        fit_intercept=False,
        cv=KFold(params.n_folds, shuffle=True, random_state=params.seed),
        solver_params={
            "n_targets_batch": 1024,
            "warn": False,
        },  # with few images the kernel form would be faster: seconds
    )
    ridge.fit(features - latent_mean, responses - response_mean)
    return EncodingModel(
        np.asarray(ridge.coef_, dtype=np.float32),
        latent_mean,
        response_mean,
        provenance=examples.provenance,
    )
