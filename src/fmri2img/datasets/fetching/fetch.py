"""Fetching one subject's raw files, or those that all share; the result is a receipt."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from fmri2img.datasets.fetching.bucket import Bucket, needed_room
from fmri2img.datasets.fetching.partial import RemoteFile
from fmri2img.datasets.fetching.subset import name_subset
from fmri2img.datasets.marks import holds_simulated, source_of
from fmri2img.project.config import MachineParams
from fmri2img.project.exceptions import ConfigError, MissingDataError, UnavailableError
from fmri2img.project.locks import locked
from fmri2img.project.nsd_params import RealNsdParams
from fmri2img.provenance.lineage import changed_since_last_run, code_has_changed
from fmri2img.provenance.receipts import (
    SIMULATED_NOTICE,
    Ledger,
    Receipt,
    Watch,
    stage_of_raw,
)

log = logging.getLogger(__name__)
_LONGEST_FETCH = 12 * 3600.0
TERMS = "https://naturalscenesdataset.org"
# Of the datasets: simulated files do not go among measured ones.
_FOLDERS = ("nsddata", "nsddata_betas", "derivatives", "stimuli", "dataset.yaml")


def check_not_pulled(name: str, is_here: bool, receipt: Path, voxels: list[Path]) -> None:
    """Refuse to fetch raw files for voxels that came from a colleague when parameters or code have
    changed since, perhaps unnoticed.

    Raises
    ------
    MissingDataError
        If receipt and voxels are here without raw files, and the parameters or the code are not
        those of the receipt.
    """
    if is_here or not receipt.exists() or not any(path.exists() for path in voxels):
        return
    stage = stage_of_raw(name)
    _, changes = changed_since_last_run(stage)
    kept = ", ".join(str(path) for path in voxels if path.exists())
    if not changes and code_has_changed(stage):
        raise MissingDataError(
            f"{kept} came without raw files and is kept, but the code that reads them has changed "
            f"since (fmri2img why {stage}): to keep using it, run fmri2img accept; to rebuild it "
            f"from raw files here, delete {receipt} and run the same command"
        )
    if changes:
        raise MissingDataError(
            f"{kept} came without raw files and is kept, but params.yaml has changed since "
            f"({'; '.join(changes)}): to use it, undo the change (git checkout params.yaml); to "
            f"rebuild it from raw files here, delete {receipt} and run the same command"
        )


def check_may_simulate(root: Path) -> None:
    """Refuse to write simulated files into a tree that holds others.

    Raises
    ------
    ConfigError
        If the folder holds a dataset's folders, and nothing in it says that it is simulated.
    """
    if not holds_simulated(root) and any((root / folder).exists() for folder in _FOLDERS):
        raise ConfigError(
            f"{root} holds files that are not simulated; dataset simulated would write "
            "among them: set machine.raw_root in params.yaml to another folder, or dataset to nsd "
            "with datasets.nsd.source local"
        )


def use_local(
    name: str, nsd: RealNsdParams, root: Path, ledger: Ledger, *, watch: Watch
) -> Receipt:
    """Use an existing tree where it is; nothing is copied or written there.

    Raises
    ------
    MissingDataError
        If there is no such folder, or required files are missing.
    """
    if not root.is_dir():
        raise MissingDataError(
            f"{root} is not a folder; set machine.raw_root in params.yaml to the folder that holds "
            "nsddata and nsddata_betas"
        )
    chosen = name_subset(name, nsd).choose(lambda path: (root / path).is_file(), str(root))
    log.info(
        "%s: %d files, %.2f GB in %s",
        name,
        len(chosen),
        sum((root / path).stat().st_size for path in chosen) / 1e9,
        root,
    )
    source = source_of(root, chosen, "nsd")
    return Receipt.of(name, root, chosen, ledger, data_source=source, watch=watch)


def list_bucket(
    name: str, nsd: RealNsdParams, n_connections: int
) -> tuple[Bucket, list[RemoteFile]]:
    """List what would be fetched, and say how large it is.

    Raises
    ------
    ConfigError
        If NSD's terms are not accepted.
    MissingDataError
        If required files are not in the bucket.
    """
    if not nsd.accept_nsd_terms:
        raise ConfigError(
            "params.yaml: datasets.nsd.accept_nsd_terms: got false; read and accept NSD's terms "
            f"({TERMS}: research and education only, "
            "no passing on of the data), then set it to true"
        )
    bucket = Bucket(nsd.s3, n_connections)
    subset = name_subset(name, nsd)
    listed = bucket.list_folders(subset.folders())
    files = [listed[path] for path in subset.choose(lambda path: path in listed, bucket.where)]
    for line in describe(name, files):
        log.info(line)
    return bucket, files


def describe(name: str, files: list[RemoteFile]) -> list[str]:
    """Return lines with the number and size of files in each folder, and in total."""
    by_folder: dict[PurePosixPath, list[RemoteFile]] = {}
    for file in files:
        by_folder.setdefault(file.path.parent, []).append(file)
    lines = [
        f"{len(group):5d} files {sum(file.size for file in group) / 1e9:9.3f} GB  {folder}"
        for folder, group in by_folder.items()
    ]
    return [
        *lines,
        f"{len(files):5d} files {sum(file.size for file in files) / 1e9:9.3f} GB  {name}, total",
    ]


def fetch_bucket(
    name: str, nsd: RealNsdParams, machine: MachineParams, ledger: Ledger, *, watch: Watch
) -> Receipt:
    """Download the files that are not there yet.

    Raises
    ------
    ConfigError
        If the root holds simulated files.
    """
    bucket, files = list_bucket(name, nsd, machine.n_connections)
    # A bucket that holds the notice holds a simulated copy.
    if not any(file.path == SIMULATED_NOTICE for file in files):
        refuse_simulated(machine.raw_folder)
    download_files(name, bucket, files, machine.raw_folder, ledger, watch=watch)
    paths = [file.path for file in files]
    source = source_of(machine.raw_folder, paths, "nsd")
    return Receipt.of(name, machine.raw_folder, paths, ledger, data_source=source)


def refuse_simulated(root: Path) -> None:
    """Refuse to download measured files into a folder of simulated ones.

    Raises
    ------
    ConfigError
        If it is one.
    """
    if holds_simulated(root):
        raise ConfigError(
            f"{root} holds simulated files; set machine.raw_root in params.yaml to another folder, "
            "or delete this one"
        )


def download_files(
    name: str,
    bucket: Bucket,
    files: list[RemoteFile],
    root: Path,
    ledger: Ledger,
    *,
    watch: Watch,
) -> None:
    """Download the files that are not there yet, verified by size and ETag.

    Raises
    ------
    ConfigError
        If the disk has no room.
    UnavailableError
        If files do not arrive.
    """
    # Subjects share files of a further test set: one of them waits for the other.
    test = name.partition("-")[2]
    seconds = _LONGEST_FETCH if test else 0
    alone = locked(
        root / f".fetch-{test or name}.lock", f"fetching {name} into {root}", seconds=seconds
    )
    with alone:
        with ThreadPoolExecutor() as pool:
            here = list(pool.map(lambda file: bucket.holds(root / file.path, file, ledger), files))
        waiting = [file for file, is_here in zip(files, here, strict=True) if not is_here]
        needed = needed_room(waiting, root)
        log.info(
            "%s: %d files are present, %.3f GB to download from %s",
            name,
            len(files) - len(waiting),
            needed / 1e9,
            bucket.where,
        )
        total = sum(file.size for file in waiting)
        with watch(name, total, total - needed) as bar:
            # Without a bar (the log of a batch job), a line for each file shows the progress.
            level = logging.INFO if bar.disable else logging.DEBUG
            bucket.download(
                waiting,
                root,
                ledger,
                on_bytes=bar.update,
                on_file=lambda file: log.log(level, "%s is complete", file.path),
            )
    if absent := [file.path for file in files if not (root / file.path).exists()]:
        raise UnavailableError(
            f"{bucket.where}: {len(absent)} files did not arrive, first {absent[0]}; run the same "
            "command again"
        )
