"""A subject's betas from sessions that were read one by one, for datasets stored as volumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from fmri2img.containers.ncsnr import above_threshold, common_repetitions, estimate_ncsnr
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.datasets.pieces import Pieces, Source, read_pieces
from fmri2img.datasets.protocol import Facts, Region, Resources
from fmri2img.datasets.recording import count_repetitions, describe_voxels
from fmri2img.project.config import ExtractBetasParams
from fmri2img.provenance.receipts import RawFiles
from fmri2img.provenance.stage_fingerprints import code_digest


@dataclass(frozen=True)
class JoinedSessions:
    """Sessions of one subject, and the trials in them.

    Attributes
    ----------
    sources : sequence of Source
        In the order of sessions.
    trials : DataFrame
        ``session``, ``run``, ``trial``, ``image_id`` and ``is_test``, in the order of the sources.
    region : Region
    facts : Facts
    ncsnr : ndarray, shape (x, y, z), float32, or None
        As the dataset ships it.
    in_brain : ndarray, shape (x, y, z), bool, or None
        None: everywhere.
    func_space, beta_version : str
        Recorded with the betas.
    """

    sources: Sequence[Source]
    trials: pd.DataFrame
    region: Region
    facts: Facts
    func_space: str
    beta_version: str
    ncsnr: np.ndarray | None = None
    in_brain: np.ndarray | None = None

    def trial_betas(
        self,
        raw: RawFiles,
        shared: RawFiles,
        params: ExtractBetasParams,
        resources: Resources,
    ) -> TrialBetas:
        """Read the region's voxels from each session, in parallel."""
        trials, region = self.trials, self.region
        pieces = read_pieces(
            self.sources,
            region.mask,
            resources.workspace,
            resources.machine,
            code=_reading_code(type(self.sources[0])),
            progress=resources.progress,
        )
        image_ids = trials["image_id"].to_numpy(
            np.int64 if self.facts.ids == "numbers" else np.str_
        )
        training_ncsnr = self._training_ncsnr(pieces, image_ids, params, resources)
        kept = above_threshold(training_ncsnr, params.min_ncsnr)
        if not kept.all():
            pieces = pieces.narrow(kept, resources.machine)
        ijk = np.argwhere(region.mask)[kept]
        at, n_voxels = tuple(ijk.T), len(ijk)
        return TrialBetas(
            voxel_ijk=ijk.astype(np.int16),
            roi_labels=region.labels[at],
            ncsnr=np.full(n_voxels, np.nan, np.float32) if self.ncsnr is None else self.ncsnr[at],
            training_ncsnr=training_ncsnr[kept],
            in_brain=np.ones(n_voxels, bool) if self.in_brain is None else self.in_brain[at],
            sessions=np.unique(trials["session"].to_numpy(np.int16)),
            valid=pieces.stack("valid"),
            saturated=pieces.stack("saturated"),
            affine=region.affine,
            provenance=describe_voxels(
                region,
                params,
                self.facts,
                raw,
                shared,
                voxel_mm=float(np.linalg.norm(region.affine[:3, 0])),
                func_space=self.func_space,
                beta_version=self.beta_version,
            ),
            betas=pieces.betas,
            image_ids=image_ids,
            is_shared=trials["is_test"].to_numpy(bool),
            session=trials["session"].to_numpy(np.int16),
            run=trials["run"].to_numpy(np.int16),
            trial=trials["trial"].to_numpy(np.int16),
            repetition=count_repetitions(trials),
        )

    def _training_ncsnr(
        self,
        pieces: Pieces,
        image_ids: np.ndarray,
        params: ExtractBetasParams,
        resources: Resources,
    ) -> np.ndarray:
        """Estimate ncsnr from images that are not test images, NaN if it is not asked for, shape
        (n_voxels,).
        """
        if not params.needs_training_ncsnr:
            return np.full(pieces.betas.shape[1], np.nan, np.float32)
        is_training = ~self.trials["is_test"].to_numpy(bool)
        n_repetitions = common_repetitions(image_ids[is_training])
        return pieces.ncsnr(
            self.trials["session"].to_numpy(),
            image_ids,
            is_training,
            estimate=partial(estimate_ncsnr, n_repetitions=n_repetitions),
            progress=resources.progress,
        )


def _reading_code(source: type) -> bytes:
    """Identify the code that makes a piece: pieces from before a change are not used."""
    roots = ("fmri2img.datasets.pieces.read_pieces", f"{source.__module__}.{source.__name__}.read")
    return code_digest(*roots).encode()
