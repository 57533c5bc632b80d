"""Push and pull through DVC what a colleague without raw files needs, and say beforehand what moves
and how much.

Receipts, regions, voxels, examples, splits and latents move, and trained encoders on request; raw
files never do.
"""

import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import yaml

from fmri2img.project.exceptions import (
    ChangedDataError,
    ConfigError,
    Fmri2imgError,
    MissingDataError,
    UnavailableError,
)
from fmri2img.project.files import hash_file
from fmri2img.provenance.dvc_hash import hash_as_dvc
from fmri2img.provenance.lineage import changed_params, read_lock
from fmri2img.provenance.receipts import Receipt

log = logging.getLogger(__name__)
# Names of stages, or patterns of them.
SHARED_STAGES = (
    "fingerprint",
    "fetch_raw_shared",
    "fetch_raw",
    "convert_roi",
    "extract_betas",
    "create_examples",
    "collect_anatomy",
    "fetch_ood",
    "read_ood",
    "split_examples",
    "collect_truth",
    "encode_latents",
    "collect_prior",
    "learn_population",
    "fetch_captions",
    "make_targets",
)
# What holds responses, and neither pictures nor anything made from them.
RESPONSE_STAGES = ("fingerprint", "fetch_raw_shared", "fetch_raw", "convert_roi", "extract_betas")
MODEL_STAGES = (*SHARED_STAGES, "train", "train_*")
ALL_STAGES = ("*",)
DEMO_REMOTE = "demo"
DEMO_STAGES = ("convert_roi", "extract_betas")  # what it holds
# "corrupted cache file '.../files/md5/5d/b3...'", and what DVC says at the end.
_CORRUPT = re.compile(r"corrupted cache file '[^']*?([0-9a-f]{2})/([0-9a-f]{30})'")
_REMOTE_URL = re.compile(r"remote\..+\.url")
_ERROR = re.compile(r"(?:^|\s)ERROR: (.*)")
_MOVED = re.compile(r"^\d+ files? |up to date")


@dataclass(frozen=True)
class Shipment:
    """The files to push or pull.

    Attributes
    ----------
    remote : str
    url : str
    stages : tuple of str
        Stages, as the lock file names them.
    outs : dict of str to (str, int)
        MD5 and bytes by path.
    """

    remote: str
    url: str
    stages: tuple[str, ...]
    outs: dict[str, tuple[str, int]]

    def describe(self) -> list[str]:
        """Return a line for each kind of file, and one for all."""
        kinds: dict[str, list[int]] = {}
        for path, (_, size) in self.outs.items():
            kinds.setdefault("/".join(Path(path).parts[:2]), []).append(size)
        lines = [
            f"{len(sizes):5d} files {sum(sizes) / 1e6:10.1f} MB  {kind}"
            for kind, sizes in kinds.items()
        ]
        total = sum(size for _, size in self.outs.values())
        return [
            *lines,
            f"{len(self.outs):5d} files {total / 1e6:10.1f} MB  in all, remote {self.remote} "
            f"({self.url})",
        ]


def plan(remote: str | None, stages: tuple[str, ...], *, root: Path = Path()) -> Shipment:
    """Say what a push or pull would move.

    Parameters
    ----------
    remote : str or None
        None: the default one.
    stages : tuple of str
        `RESPONSE_STAGES`, `SHARED_STAGES`, `MODEL_STAGES` or `ALL_STAGES`.
    root : Path
        The project.

    Raises
    ------
    ConfigError
        If there is no such remote.
    """
    name, url = find_remote(remote, root)
    if name == DEMO_REMOTE:
        stages = DEMO_STAGES
    chosen = [
        stage
        for stage in read_lock(root).values()
        if any(fnmatch(stage.script, pattern) for pattern in stages)
    ]
    # Metrics (JSON) are kept in git and do not move.
    outs = {
        path: (md5, stage.sizes[path])
        for stage in chosen
        for path, md5 in stage.outs.items()
        if not _is_metric(path)
    }
    return Shipment(name, url, tuple(stage.name for stage in chosen), outs)


def _is_metric(path: str) -> bool:
    return path.startswith("reports/") and path.endswith(".json")


def find_remote(name: str | None, root: Path = Path()) -> tuple[str, str]:
    """Return name and URL of a DVC remote: the named one, or the default.

    Raises
    ------
    ConfigError
        If it is not configured.
    """
    listed = dict(
        line.partition("=")[::2] for line in _dvc(["config", "--list"], root).stdout.splitlines()
    )
    urls = {
        key.removeprefix("remote.").removesuffix(".url"): url
        for key, url in listed.items()
        if _REMOTE_URL.fullmatch(key)
    }
    chosen = name or listed.get("core.remote", "")
    if chosen not in urls:
        known = f"there is no remote {chosen!r}, only {', '.join(urls)}"
        raise ConfigError(
            f".dvc/config: {known if urls else 'no remote is configured'}; add one: dvc remote add "
            "--local --default lab s3://bucket/folder (or a folder that your group shares)"
        )
    return chosen, urls[chosen]


def share(shipment: Shipment, terms: str, *, members_only: bool, root: Path = Path()) -> None:
    """Push the files of a shipment.

    Raises
    ------
    ConfigError
        If restricted data would go to a remote whose readers nobody has vouched for.
    UnavailableError
        If the push fails; what has arrived stays.
    MissingDataError
        If a file that the lock file names is not here; the others are pushed.
    """
    if shipment.remote == DEMO_REMOTE:
        raise ConfigError(
            "the remote demo is part of the repository, which anybody may read; name your group's "
            "with --remote, or make it the "
            "default (dvc remote add --local --default lab URL)"
        )
    if "://" not in shipment.url and Path(shipment.url).resolve().is_relative_to(root.resolve()):
        raise ConfigError(
            f"remote {shipment.remote}: {shipment.url} lies inside the project, and so in its "
            "repository; choose a folder outside"
        )
    if terms and not members_only:
        raise ConfigError(
            f"{terms}; if only people admitted by these terms can read {shipment.url}, run: "
            f"fmri2img share --remote {shipment.remote} --members-only"
        )
    _run("push", shipment, root)


def pull(shipment: Shipment, root: Path = Path()) -> None:
    """Pull the files of a shipment, and verify every object.

    Raises
    ------
    ChangedDataError
        If an object in the remote does not have the recorded bytes; it is not checked out.
    UnavailableError
        If the pull fails; what has arrived stays.
    """
    _verify_objects(shipment.remote, root)
    _run("pull", shipment, root)


def differing_params(root: Path = Path()) -> list[str]:
    """Say how ``params.yaml`` differs from the lock file in stages that read raw files: they may
    only differ where raw files are at hand.
    """
    current = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    stages = [stage for stage in read_lock(root).values() if stage.reads_raw]
    return sorted({phrase for stage in stages for phrase in changed_params(stage, current)})


def _verify_objects(remote: str, root: Path) -> None:
    """Have DVC hash every object that comes from a remote: by default it trusts them."""
    if _dvc(["remote", "modify", "--local", remote, "verify", "true"], root).returncode:
        raise ConfigError(
            ".dvc/config.local: cannot be written, and without it DVC would not verify what comes "
            f"from {remote}; make it writable"
        )


def _run(action: str, shipment: Shipment, root: Path) -> None:
    log.info("dvc %s --remote %s, %d stages", action, shipment.remote, len(shipment.stages))
    # With --verbose it says which objects it refused.
    result = _dvc(
        [action, "--remote", shipment.remote, *shipment.stages, "--verbose"],
        root,
        module="fmri2img.sharing.transfer",
    )
    said = f"{result.stdout}\n{result.stderr}"
    paths = {md5: path for path, (md5, _) in shipment.outs.items()}
    missing = [
        path for md5, path in paths.items() if md5 in said.partition("Missing cache files")[2]
    ]
    if action == "push" and missing:  # DVC calls that a success
        raise MissingDataError(
            f"{len(missing)} files are neither in DVC's cache here nor in remote "
            f"{shipment.remote}, first {missing[0]}; make them with "
            "dvc repro, or pull them from where they are, then run the same command: the others "
            "were pushed"
        )
    if result.returncode == 0:
        moved = [line for line in result.stdout.splitlines() if _MOVED.search(line)]
        print(moved[-1] if moved else "nothing was left to move")
        return
    raise _failure(said, shipment, missing, root)


def _failure(said: str, shipment: Shipment, missing: list[str], root: Path) -> Fmri2imgError:
    """Return the error that matches DVC's output."""
    paths = {md5: path for path, (md5, _) in shipment.outs.items()}
    if refused := [paths[md5] for md5 in map("".join, _CORRUPT.findall(said)) if md5 in paths]:
        return ChangedDataError(
            f"remote {shipment.remote}: the object of {refused[0]} does not have the recorded "
            "bytes and was refused; "
            "have its owner delete that object there and run fmri2img share again, then run the "
            "same command: what has arrived stays"
        )
    if "unsaved files" in said:
        unsaved = [
            path
            for md5, path in paths.items()
            if (root / path).exists() and hash_as_dvc(root / path) != md5
        ]
        return ChangedDataError(
            f"{unsaved[0] if unsaved else 'a file'}: its bytes here are not the recorded ones and "
            "are "
            "saved nowhere else, so they are kept and not "
            "overwritten; move that file away, then run the same command"
        )
    absent = [path for path in missing if not (root / path).exists()]
    told = _ERROR.findall(said) or ["no reason given"]
    reason = (
        f"{len(absent)} files are not there, first {absent[0]}"
        if absent
        else " ".join(told[-1].split())
    )
    return UnavailableError(
        f"remote {shipment.remote} ({shipment.url}): {reason}; check the remote and the network, "
        "or have its owner run "
        "fmri2img share again, then run the same command: what has arrived stays"
    )


def _dvc(
    arguments: list[str], root: Path, *, module: str = "dvc"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def data_source_of(root: Path = Path()) -> str:
    """Return ``simulated`` only if every receipt that the lock file names is here and says so, else
    the dataset of the first that does not; empty if that is not known.

    The files that move are those in the lock file, whatever is in the working folder.

    Raises
    ------
    ConfigError
        If files were made from inputs that the lock file no longer names: their receipts are not
        known.
    """
    stages = [stage for stage in read_lock(root).values() if stage.script in SHARED_STAGES]
    outs = {path: md5 for stage in stages for path, md5 in stage.outs.items()}
    for stage in stages:
        if older := [path for path, md5 in stage.deps.items() if outs.get(path, md5) != md5]:
            raise ConfigError(
                f"dvc.lock: {next(iter(stage.outs))} was made from a different {older[0]} than "
                "dvc.lock names now; complete dvc repro first"
            )
    named = {path: md5 for path, md5 in outs.items() if path.startswith("data/receipts/")}
    for path, md5 in named.items():
        file = root / path
        if not file.exists() or hash_file(file, "md5") != md5:
            return ""
        source = Receipt.open(file, remedy="dvc checkout").data_source
        if source != "simulated":
            return source
    return "simulated" if named else ""
