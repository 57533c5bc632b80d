"""Divide the files that held all subjects in version 0.2.0: true pictures, captions, and the
latents of pictures from which encoders learn.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from fmri2img.containers.ids import find_rows, id_name
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import PARTS, Split
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.features.prior import without_test_images
from fmri2img.migration.file_change import FileChange
from fmri2img.migration.subject_entries import PRIOR
from fmri2img.project.config import ModelLists
from fmri2img.project.files import hash_file, read_json, write_json
from fmri2img.project.layout import (
    CHECKPOINTS,
    captions_path,
    latents_path,
    prior_path,
    split_path,
    truth_path,
)

# Until version 0.2.0.
TRUTH, CAPTIONS = Path("data/truth.h5"), "data/captions/{}.json"
_WORK = CHECKPOINTS / "migration"


def add_population(text: str) -> str:
    """Return ``params.yaml`` with the key ``population``: all subjects, as until version 0.2.0.

    Parameters
    ----------
    text : str
        The whole file.
    """
    document = yaml.compose(text)
    if not isinstance(document, yaml.MappingNode):
        return text
    keys = {key.value: (key, value) for key, value in document.value}
    if "population" in keys or "subjects" not in keys:
        return text
    key, subjects = keys["subjects"]
    names = ", ".join(item.value for item in subjects.value)
    start = key.start_mark.index
    return f"{text[:start]}population: [{names}]\n{text[start:]}"


def changes_of_subject_files(
    root: Path, subjects: list[str], models: ModelLists
) -> Iterator[FileChange]:
    """Yield one change for each file that a subject gets, and one for each that goes.

    The new files are written aside, because the lock has to name their bytes; the changes put them
    in place.

    Parameters
    ----------
    root : Path
        The project.
    subjects : list of str
    models : ModelLists
    """
    splits = {
        subject: Split.open(
            root / split_path(subject), remedy=f"dvc repro split_examples@{subject}"
        )
        for subject in subjects
        if (root / split_path(subject)).exists()
    }
    if (root / TRUTH).exists():
        truth = TruePictures.open(root / TRUTH, remedy="dvc checkout data/truth.h5")
        for subject, split in splits.items():
            share = root / _WORK / truth_path(subject)
            _pictures_of(truth, split, root / TRUTH, share)
            yield _placed(root, share, TRUTH, truth_path(subject), "test images of one subject")
        yield _removed(root, TRUTH, "each subject has its own file")
    if (root / PRIOR).exists():
        for subject, split in splits.items():
            latents = Latents.open(
                root / latents_path(subject), remedy=f"dvc repro encode_latents@{subject}"
            )
            share = root / _WORK / prior_path(subject)
            without_test_images(latents, split.ids("test")).save(share)
            yield _placed(root, share, PRIOR, prior_path(subject), "pictures of one subject")
        yield _removed(root, PRIOR, "each subject has its own file")
    for model in models.diffusion:
        old = Path(CAPTIONS.format(model))
        if not (root / old).exists():
            continue
        document = read_json(root / old, remedy=f"dvc checkout {old}", fields={"captions": dict})
        for subject, split in splits.items():
            names = {id_name(image_id) for part in PARTS for image_id in split.ids(part)}
            kept = {name: texts for name, texts in document["captions"].items() if name in names}
            share = root / _WORK / captions_path(subject, model)
            write_json(share, document | {"captions": kept})
            where = captions_path(subject, model)
            yield _placed(root, share, old, where, "captions of one subject's pictures")
        yield _removed(root, old, "each subject has its own file")


def _pictures_of(truth: TruePictures, split: Split, source: Path, target: Path) -> None:
    ids = split.ids("test")
    if len(ids) == len(truth.image_ids):  # as in NSD, where all subjects share their test images
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return
    rows = find_rows(truth.image_ids, ids, "test images")
    TruePictures(ids, truth.images[rows], truth.provenance).save(target)


def _placed(root: Path, share: Path, was: Path, now: Path, words: str) -> FileChange:
    md5 = (hash_file(root / was, "md5"), hash_file(share, "md5"))
    return FileChange(
        f"{now}: {words}", _putting(share, root / now), was, now, md5, share.stat().st_size
    )


def _putting(share: Path, target: Path) -> Callable[[], None]:
    def put() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        share.replace(target)

    return put


def _removed(root: Path, was: Path, words: str) -> FileChange:
    return FileChange(f"{was}: removed, {words}", (root / was).unlink, was, was)
