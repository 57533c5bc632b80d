"""Push and pull what a colleague without NSD needs, by DVC, and say beforehand what moves and how much.

Receipts, regions, voxels, examples, splits and latents travel, and trained encoders on request; raw files never do.
"""

import configparser
import json
import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from fmri2img.exceptions import ChangedDataError, ConfigError, MissingDataError, UnavailableError
from fmri2img.lineage import changed_params, read_lock

log = logging.getLogger(__name__)
SHARED_STAGES = ("fetch_nsd_shared", "fetch_nsd", "convert_roi", "extract_betas", "create_examples", "split_examples", "encode_latents")
MODEL_STAGES = (*SHARED_STAGES, "train")
ALL_STAGES = (*MODEL_STAGES, "predict", "evaluate", "compare")
# What may differ between a colleague's parameters and those of pulled files only if raw files are at hand.
RAW_STAGES = ("fetch_nsd_shared", "fetch_nsd", "convert_roi", "extract_betas", "create_examples")
DEMO_REMOTE = "demo"
DEMO_STAGES = ("convert_roi", "extract_betas")  # what it holds
# "corrupted cache file '.../files/md5/5d/b3...'", and what DVC says at the end.
_CORRUPT = re.compile(r"corrupted cache file '[^']*?([0-9a-f]{2})/([0-9a-f]{30})'")
_MOVED = re.compile(r"^\d+ files? |up to date")


@dataclass(frozen=True)
class Shipment:
    """What is to move.

    Attributes
    ----------
    remote : str
    url : str
    stages : tuple of str
        Stage groups, as DVC takes them.
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
        lines = [f"{len(sizes):5d} files {sum(sizes) / 1e6:10.1f} MB  {kind}" for kind, sizes in kinds.items()]
        total = sum(size for _, size in self.outs.values())
        return [*lines, f"{len(self.outs):5d} files {total / 1e6:10.1f} MB  in all, remote {self.remote} ({self.url})"]


def plan(remote: str | None, stages: tuple[str, ...], *, root: Path = Path()) -> Shipment:
    """Say what a push or pull would move.

    Parameters
    ----------
    remote : str or None
        None: the default one.
    stages : tuple of str
        `SHARED_STAGES`, `MODEL_STAGES` or `ALL_STAGES`.
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
    chosen = [stage for stage in read_lock(root).values() if stage.name.split("@")[0] in stages]
    # Metrics (JSON) live in git and do not travel.
    outs = {path: (md5, stage.sizes[path]) for stage in chosen for path, md5 in stage.outs.items() if not _is_metric(path)}
    return Shipment(name, url, stages, outs)


def _is_metric(path: str) -> bool:
    return path.startswith("reports/") and path.endswith(".json")


def find_remote(name: str | None, root: Path = Path()) -> tuple[str, str]:
    """Return name and URL of a DVC remote: the named one, or the default.

    Raises
    ------
    ConfigError
        If it is not configured.
    """
    config = configparser.ConfigParser()
    config.read([root / ".dvc/config", root / ".dvc/config.local"])
    urls = {section.split('"')[1]: config[section].get("url", "") for section in config.sections() if section.startswith("'remote ")}
    chosen = name or config.get("core", "remote", fallback=None)
    if chosen not in urls:
        known = ", ".join(urls) or "none"
        raise ConfigError(
            f".dvc/config: there is no remote {chosen!r} among {known}; add one: dvc remote add --local lab s3://bucket/folder "
            "(or a folder that your group shares), then name it with --remote lab"
        )
    return chosen, urls[chosen]


def share(shipment: Shipment, data_source: str, *, members_only: bool, root: Path = Path()) -> None:
    """Push.

    Raises
    ------
    ConfigError
        If NSD's components would go where nobody has vouched for the readers.
    UnavailableError
        If the push does not end well; what has arrived stays.
    """
    if shipment.remote == DEMO_REMOTE:
        raise ConfigError(
            "the remote demo is part of the repository, which anybody may read; name your group's with --remote "
            "(dvc remote add --local lab URL)"
        )
    if data_source != "simulated" and not members_only:
        raise ConfigError(
            f"voxels are components of NSD and may not leave the group that accepted its agreement; if only such people can read "
            f"{shipment.url}, run: fmri2img share --remote {shipment.remote} --members-only"
        )
    _run(["push", "--remote", shipment.remote, *shipment.stages], shipment, root)


def pull(shipment: Shipment, root: Path = Path()) -> list[str]:
    """Pull, every object verified; return in what the parameters differ from those that made the files.

    Raises
    ------
    ChangedDataError
        If an object in the remote has other bytes than recorded; nothing is checked out from it.
    UnavailableError
        If the pull does not end well; what has arrived stays.
    """
    _verify_objects(shipment.remote, root)
    _run(["pull", "--remote", shipment.remote, *shipment.stages], shipment, root)
    return differing_params(root)


def differing_params(root: Path = Path()) -> list[str]:
    """Say in what ``params.yaml`` differs, upstream of the examples, from what the lock file records."""
    current = yaml.safe_load((root / "params.yaml").read_text())
    stages = [stage for stage in read_lock(root).values() if stage.name.split("@")[0] in RAW_STAGES]
    return sorted({phrase for stage in stages for phrase in changed_params(stage, current)})


def _verify_objects(remote: str, root: Path) -> None:
    """Have DVC hash every object that comes from a remote: by default it trusts them."""
    _dvc(["remote", "modify", "--local", remote, "verify", "true"], root)


def _run(arguments: list[str], shipment: Shipment, root: Path) -> None:
    log.info("dvc %s", " ".join(arguments))
    result = _dvc([*arguments, "--verbose"], root)  # says which objects it refused
    if result.returncode == 0:
        moved = [line for line in result.stdout.splitlines() if _MOVED.search(line)]
        print(moved[-1] if moved else "nothing was left to move")
        return
    said = f"{result.stdout}\n{result.stderr}"
    paths = {md5: path for path, (md5, _) in shipment.outs.items()}
    if refused := [paths[md5] for md5 in map("".join, _CORRUPT.findall(said)) if md5 in paths]:
        raise ChangedDataError(
            f"remote {shipment.remote}: the object of {refused[0]} does not have the recorded bytes and was refused; "
            "have its owner run fmri2img share again, then run the same command: what has arrived stays"
        )
    absent = [path for md5, path in paths.items() if md5 in said and not (root / path).exists()]
    lines = [line for line in said.strip().splitlines() if line.startswith("ERROR")] or ["no reason given"]
    reason = f"{len(absent)} files are not there, first {absent[0]}" if absent else " ".join(lines[-1].split())
    raise UnavailableError(
        f"remote {shipment.remote} ({shipment.url}): {reason}; check the remote and the network, or have its owner run "
        "fmri2img share again, then run the same command: what has arrived stays"
    )


def _dvc(arguments: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, check=False)


def data_source_of(root: Path = Path()) -> str:
    """Return ``simulated`` only if every receipt says so.

    Raises
    ------
    MissingDataError
        If there is no receipt.
    """
    receipts = sorted((root / "data/receipts").glob("*.json"))
    if not receipts:
        raise MissingDataError("data/receipts holds no receipt; run: dvc repro, or fmri2img pull")
    sources = {json.loads(path.read_text())["data_source"] for path in receipts}
    return "simulated" if sources == {"simulated"} else "nsd"
