"""Division of images into training, validation and test; always by image, never by trial."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from fmri2img.containers.ids import as_ids
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError
from fmri2img.project.files import read_json, write_json

SplitName = Literal["train", "validation", "test"]
_FIRST_TOO_LARGE = 1 << 63
PARTS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Image ids of each part; checked to be disjoint.

    Attributes
    ----------
    kind : str
        ``shared`` or ``random``.
    train, validation, test : tuple of int or str
        Image ids, ascending.
    """

    kind: str
    train: tuple[int | str, ...]
    validation: tuple[int | str, ...]
    test: tuple[int | str, ...]

    def __post_init__(self) -> None:
        parts = [self.train, self.validation, self.test]
        if sum(map(len, parts)) != len(set().union(*parts)):
            raise MismatchError(
                "an image is in two parts of the split; run: dvc repro split_examples"
            )
        if not all(parts):
            sizes = dict(zip(("train", "validation", "test"), map(len, parts), strict=True))
            raise MismatchError(
                f"a part of the split is empty: {sizes}; name more sessions or another kind in "
                "params.yaml"
            )

    def ids(self, name: SplitName) -> np.ndarray:
        """Return the image ids of one part, shape (n,), int64 or str."""
        return as_ids(getattr(self, name))

    def save(self, path: Path) -> None:
        """Write the split as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def open(cls, path: Path, *, remedy: str) -> Self:
        """Read a split.

        Raises
        ------
        MissingDataError
            If the file is not there.
        FormatError
            If it is not a split, or its image ids are neither whole numbers nor texts, or not in
            ascending order.
        """
        fields = {"kind": str} | dict.fromkeys(PARTS, list)
        values = read_json(path, remedy=remedy, fields=fields)
        for name in PARTS:
            kinds = {type(image_id) for image_id in values[name]}
            if kinds - {int} and kinds - {str}:
                raise FormatError(
                    f"{path}: {name}: image ids are {_words(kinds)}, expected whole numbers or "
                    f"texts; run: {remedy}"
                )
            ids = values[name]
            if kinds == {int} and not 0 <= min(ids) <= max(ids) < _FIRST_TOO_LARGE:
                raise FormatError(
                    f"{path}: {name}: image ids from {min(ids)} to {max(ids)}, expected numbers "
                    f"from 0 that fit into 64 bits; run: {remedy}"
                )
            if ids != sorted(set(ids)):
                raise FormatError(
                    f"{path}: {name}: image ids are not ascending, or one is there twice; run: "
                    f"{remedy}"
                )
        return cls(values["kind"], *(tuple(values[name]) for name in PARTS))


def _words(kinds: set[type]) -> str:
    return " and ".join(sorted(kind.__name__ for kind in kinds))


def check_kind(kind: str, provenance: dict[str, Any]) -> None:
    """Refuse a split that the dataset does not allow, or whose test trials helped to choose the
    voxels.

    Parameters
    ----------
    kind : str
        ``shared`` or ``random``.
    provenance : dict
        Provenance of the examples, with ``splits`` and ``selection``. Voxels are chosen on the
        images that are not shared, and ``random`` also tests on these.

    Raises
    ------
    ConfigError
        In either case.
    """
    selection = provenance["selection"]
    if kind not in provenance["splits"]:
        raise ConfigError(
            f"params.yaml: split_examples.kind: the dataset does not allow {kind}; choose from: "
            f"{', '.join(provenance['splits'])}"
        )
    if kind == "random" and selection["min_ncsnr"] > 0:
        raise ConfigError(
            "params.yaml: split_examples.kind: random would test on images that chose the voxels "
            "(extract_betas.min_ncsnr is "
            f"{selection['min_ncsnr']}); set kind to shared, or min_ncsnr to 0"
        )


def split_images(
    image_ids: np.ndarray,
    is_shared: np.ndarray,
    *,
    kind: Literal["shared", "random"],
    validation_fraction: float,
    n_train_random: int,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> Split:
    """Divide images into training, validation and test.

    Parameters
    ----------
    image_ids, is_shared : ndarray, shape (n_images,)
    kind : str
        ``shared``: test on the images that the dataset sets apart, as published work does.
        ``random``: after a shuffle, test on all images after the first ``n_train_random``, as the
        fmri2img scripts do (not comparable with published numbers).
    validation_fraction : float
        Validation's share of the images that are not test images.
    n_train_random : int
        Number of training and validation images at least, to which pictures that look like them
        are added; only for ``random``.
    rng : Generator
    groups : ndarray, shape (n_images,), or None
        A number that pictures which look alike have in common. In a random split, a test image
        that looks like a training or validation image, and a validation image that looks like a
        training image, become training images: seen before, they would be no test.

    Returns
    -------
    Split
        The same whatever the order of ``image_ids``.
    """
    order = np.argsort(image_ids)
    ids, shared = image_ids[order], is_shared[order]
    if kind == "shared":
        test, rest = ids[shared], rng.permutation(ids[~shared])
    else:
        shuffled = rng.permutation(ids)
        rest, test = shuffled[:n_train_random], shuffled[n_train_random:]
    n_validation = round(validation_fraction * len(rest))
    train, validation = rest[n_validation:], rest[:n_validation]
    if kind == "random" and groups is not None:
        group_of = dict(zip(image_ids.tolist(), groups.tolist(), strict=True))
        train, test = _move_alike_to_train(train, test, group_of, validation=validation)
        train, validation = _move_alike_to_train(train, validation, group_of)
    parts = (train, validation, test)
    return Split(kind, *(tuple(np.sort(part).tolist()) for part in parts))


def _move_alike_to_train(
    train: np.ndarray,
    held_out: np.ndarray,
    group_of: dict[Any, int],
    validation: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Move images that look like others from a part that is held out to training.

    Parameters
    ----------
    train, held_out : ndarray, shape (n,)
        Image ids.
    group_of : dict
        Image id to group.
    validation : ndarray, shape (n,), or None
        Further images that the held-out ones must not resemble.

    Returns
    -------
    tuple of ndarray
        Training images, and those held out.
    """
    others = train if validation is None else np.concatenate([train, validation])
    known = {group_of[image_id] for image_id in others.tolist()}
    is_known = np.array([group_of[image_id] in known for image_id in held_out.tolist()], bool)
    return np.concatenate([train, held_out[is_known]]), held_out[~is_known]
