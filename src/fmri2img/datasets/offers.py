"""What some datasets offer besides the main experiment: further test sets, and anatomies."""

from typing import Protocol, cast

from fmri2img.containers.anatomy import Anatomy
from fmri2img.containers.examples import Examples
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.datasets.protocol import Dataset, check_ood, open_dataset
from fmri2img.project.config import CollectAnatomyParams, ProjectParams
from fmri2img.provenance.receipts import Ledger, RawFiles, Receipt, Watch

Grid = tuple[int, int, int]


class OffersOod(Dataset, Protocol):
    """A dataset whose subjects also saw images of another kind (`Facts.ood`), as a test of encoders
    that were trained on its main experiment.
    """

    def fetch_ood(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Make the raw files of a further test set available, ``name`` is ``<subject>-<test set>``;
        return the receipt that lists them.
        """

    def read_ood(
        self, test: str, raw: RawFiles, voxels: TrialBetas, image_size: int
    ) -> tuple[Examples, TruePictures]:
        """Return trials and pictures of a further test set.

        Parameters
        ----------
        test : str
            One of `Facts.ood`.
        raw : RawFiles
            Its files.
        voxels : TrialBetas
            The main experiment, whose voxels are read, in their order.
        image_size : int
            Side of the pictures among the examples.

        Returns
        -------
        examples : Examples
            With ``left_out`` in the provenance, the number of pictures that cannot be scored.
        pictures : TruePictures
            Of the same images.

        Raises
        ------
        FormatError, MismatchError
            If the files are not those of the test set, or lie on another grid.
        """


class OffersAnatomy(Dataset, Protocol):
    """A dataset that has volumes to draw maps over, and the way from voxels to a surface."""

    def fetch_anatomy(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Make available what there is of a subject's anatomy, ``name`` is ``<subject>-anatomy``;
        return the receipt that lists it.
        """

    def read_anatomy(
        self, raw: RawFiles, subject: str, params: CollectAnatomyParams, shape: Grid
    ) -> Anatomy:
        """Return a subject's anatomy on the grid (x, y, z) of its voxels.

        Raises
        ------
        FormatError, MismatchError
            If a file is damaged, or lies on another grid.
        """


def open_ood(params: ProjectParams, test: str) -> OffersOod:
    """Return the project's dataset if it offers a further test set.

    Raises
    ------
    ConfigError
        If it does not.
    """
    dataset = open_dataset(params)
    check_ood([test], dataset.facts)
    return cast(OffersOod, dataset)


def open_anatomy(params: ProjectParams) -> OffersAnatomy | None:
    """Return the project's dataset if it offers anatomies, else None."""
    dataset = open_dataset(params)
    return cast(OffersAnatomy, dataset) if dataset.facts.has_anatomy else None
