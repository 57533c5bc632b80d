"""Time reading one real-size session, mapping an ROI, and extracting 10, 20 and 40 sessions, and
compare with other ways to do it.

``python benchmarks/extraction.py`` simulates one session of subj01 at the real size (750 x 81 x 104
x 83, about 15 000 ROI voxels; kept in ``--folder``), runs every way in a process of its own,
interleaved, and writes medians to ``benchmarks/README.md``. Files are in the page cache. Forty
sessions are forty links to the one file.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import yaml
from measuring import (
    SUBJECT,
    TINY,
    Measured,
    make_pictures,
    peak_rss_mb,
    put_section,
    run_measured,
    say,
    simulated_nsd,
    sized,
    table,
)

from fmri2img.datasets.nsd.paths import SubjectFiles, on_disk
from fmri2img.datasets.regions import read_region

FILES = SubjectFiles(SUBJECT)
N_ROUNDS = sized(5, 1)
SESSIONS = sized((10, 20, 40), (2,))
SIZE = sized(
    {"volume_scale": 1.0, "n_visual_voxels": 7500}, {"volume_scale": 0.16, "n_visual_voxels": 70}
)
# The other ways should be at least this many times slower than this project.
GOALS = {"hdf5": 20.0, "get_fdata": 8.0, "dataobj": 2.5}


def main() -> None:
    """Run every way in its own process, or one way in this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "fmri2img-real-size"
    )
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    parser.add_argument(
        "--only-sessions", action="store_true", help="skip the comparison of single ways"
    )
    parser.add_argument("--way", choices=WAYS, help="measure one way in this process and print it")
    parser.add_argument("--sessions", type=int, help="extract this many sessions in this process")
    options = parser.parse_args()
    root = options.folder / "nsd"
    if options.way:
        measure_here(options.way, root)
    elif options.sessions:
        extract_here(options.folder, options.sessions)
    else:
        simulate(options.folder)
        if not options.only_sessions:
            compare(options.folder, options.rounds)
        extract_many(options.folder)


def simulate(folder: Path) -> None:
    """Write one session at the real size, unless an earlier run has."""
    from fmri2img.datasets.simulation.dataset import SimulatedSubject
    from fmri2img.datasets.simulation.stimuli_files import simulate_shared

    if (folder / "complete").exists():
        return
    pictures = make_pictures(folder / "pictures")
    nsd = simulated_nsd(pictures, **SIZE, beta_formats=["hdf5", "nii.gz"])
    simulate_shared(folder / "nsd", nsd)
    SimulatedSubject(SUBJECT, nsd, folder / "nsd").write()
    (folder / "complete").touch()


def roi_mask(root: Path) -> np.ndarray:
    """Return NSD's general visual region, shape (x, y, z), bool."""
    import nibabel as nib

    return np.asarray(nib.load(on_disk(root, FILES.func_roi("nsdgeneral"))).dataobj) > 0


def _ours(ending: str) -> Callable[[Path], Callable[[], np.ndarray]]:
    def prepare(root: Path) -> Callable[[], np.ndarray]:
        from fmri2img.datasets.nsd.betas import read_session_betas

        mask, path = roi_mask(root), on_disk(root, FILES.betas("b3", 1, ending))
        return lambda: read_session_betas(path, mask, remedy="")

    return prepare


def whole_hdf5(root: Path) -> Callable[[], np.ndarray]:
    """Read the whole array, then mask it."""
    import h5py

    mask, path = roi_mask(root).T, on_disk(root, FILES.betas("b3", 1, "hdf5"))

    def read() -> np.ndarray:
        with h5py.File(path, "r") as file:
            return file["betas"][()][:, mask]

    return read


def get_fdata(root: Path) -> Callable[[], np.ndarray]:
    """Read with nibabel's float interface, then mask."""
    import nibabel as nib

    mask, path = roi_mask(root), on_disk(root, FILES.betas("b3", 1, "nii.gz"))
    return lambda: nib.load(path).get_fdata()[mask].T


def dataobj(root: Path) -> Callable[[], np.ndarray]:
    """Read with nibabel as stored, then mask."""
    import nibabel as nib

    mask, path = roi_mask(root), on_disk(root, FILES.betas("b3", 1, "nii.gz"))
    return lambda: np.asanyarray(nib.load(path).dataobj)[mask].T


def _mapping(ours: bool, kind: str) -> Callable[[Path], Callable[[], np.ndarray]]:
    def prepare(root: Path) -> Callable[[], np.ndarray]:
        source = on_disk(root, FILES.anat_roi("prf-visualrois"))
        if not ours:
            from nsdcode.nsd_mapdata import NSDmapdata

            return lambda: NSDmapdata(str(root)).fit(
                1, "anat0pt8", "func1pt8", str(source), interptype=kind, badval=-1
            )
        from fmri2img.datasets.nsd.mapping import map_nearest, map_winner_take_all, read_coordinates
        from fmri2img.datasets.nsd.rois import read_labels

        function, shape = (
            {"nearest": map_nearest, "wta": map_winner_take_all}[kind],
            roi_mask(root).shape,
        )

        def convert() -> np.ndarray:
            coordinates = read_coordinates(on_disk(root, FILES.transform()), shape, remedy="")
            return function(read_labels(source, remedy="")[0], coordinates, bad_value=-1)

        return convert

    return prepare


# Name: (preparation in a fresh process, title, the way it is compared with).
WAYS: dict[str, tuple[Callable, str, str | None]] = {
    "ours_hdf5": (_ours("hdf5"), "**this project**, `.hdf5`", None),
    "hdf5": (whole_hdf5, "h5py, whole array, then mask", "ours_hdf5"),
    "ours_nifti": (_ours("nii.gz"), "**this project**, `.nii.gz`", None),
    "dataobj": (dataobj, "nibabel `dataobj`, then mask", "ours_nifti"),
    "get_fdata": (get_fdata, "nibabel `get_fdata`, then mask", "ours_nifti"),
    "ours_nearest": (_mapping(True, "nearest"), "**this project**, ROI, nearest", None),
    "nsdcode_nearest": (_mapping(False, "nearest"), "`nsdcode`, ROI, nearest", "ours_nearest"),
    "ours_wta": (_mapping(True, "wta"), "**this project**, ROI, winner takes all", None),
    "nsdcode_wta": (_mapping(False, "wta"), "`nsdcode`, ROI, winner takes all", "ours_wta"),
}


def measure_here(way: str, root: Path) -> None:
    """Run one way, and print its time, its peak memory and a checksum of its values."""
    read = WAYS[way][0](root)
    start = time.perf_counter()
    values = read()
    seconds = time.perf_counter() - start
    say(
        {
            "seconds": seconds,
            "peak_mb": peak_rss_mb(),
            "sum": int(np.abs(values.astype(np.int64)).sum()),
        }
    )


def extract_here(folder: Path, n_sessions: int) -> None:
    """Extract sessions that are all links to one file, as the stage does after the files are
    verified.
    """
    from fmri2img.containers.ncsnr import estimate_ncsnr
    from fmri2img.datasets.nsd.extraction import extract_betas
    from fmri2img.datasets.nsd.paths import EXPDESIGN
    from fmri2img.datasets.protocol import Resources
    from fmri2img.datasets.simulation.raw_formats import write_responses
    from fmri2img.datasets.simulation.trial_order import draw_design, responses_table
    from fmri2img.project.config import ExtractBetasParams, MachineParams, TimeseriesParams
    from fmri2img.provenance.receipts import FileRecord, Ledger, RawFiles, Receipt

    root, work = folder / f"nsd-{n_sessions}", folder / "work"
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)
    sessions = list(range(1, n_sessions + 1))
    one = on_disk(folder / "nsd", FILES.betas("b3", 1, "hdf5"))
    for path in (EXPDESIGN, FILES.brainmask(), FILES.ncsnr("b3"), FILES.func_roi("nsdgeneral")):
        on_disk(root, path).parent.mkdir(parents=True, exist_ok=True)
        os.link(on_disk(folder / "nsd", path), on_disk(root, path))
    for session in sessions:
        os.link(one, on_disk(root, FILES.betas("b3", session, "hdf5")))
    write_responses(root, FILES, responses_table(draw_design(7), 1, sessions, 7))
    names = [
        FILES.responses(),
        FILES.brainmask(),
        FILES.ncsnr("b3"),
        *(FILES.betas("b3", session, "hdf5") for session in sessions),
    ]
    ledger = Ledger(None)
    for index, name in enumerate(names):
        ledger.remember(on_disk(root, name), f"{index:064d}")
    records = tuple(
        FileRecord(str(name), on_disk(root, name).stat().st_size, f"{index:064d}")
        for index, name in enumerate(names)
    )
    raw = RawFiles(Receipt(SUBJECT, "simulated", records), root, ledger)
    receipt = Receipt.of("shared", root, [EXPDESIGN], ledger, data_source="simulated")
    shared = RawFiles(receipt, root, ledger)
    table_of = {
        "roi": "nsdgeneral",
        "drawn_in": "func",
        "mapping": None,
        "names": {1: "nsdgeneral"},
    }
    region = read_region(on_disk(root, FILES.func_roi("nsdgeneral")), table_of, "all", remedy="")
    machine = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())["machine"] | {
        "raw_root": str(root),
        "n_jobs": -1,
    }
    windows = TimeseriesParams(window_seconds=[4.0, 8.0], baseline_seconds=[-4.0, 0.0])
    start = time.perf_counter()
    before = cpu_seconds()
    extract_betas(
        raw,
        shared,
        region,
        simulated_nsd(folder / "pictures", **SIZE, beta_formats=["hdf5"]).model_copy(
            update={"sessions": sessions}
        ),
        ExtractBetasParams(labels="all", recompute_ncsnr=False, min_ncsnr=0.0, timeseries=windows),
        estimate_ncsnr=estimate_ncsnr,
        resources=Resources(MachineParams.model_validate(machine), work),
    ).save(folder / "voxels.h5")
    seconds = time.perf_counter() - start
    say(
        {
            "seconds": seconds,
            "voxels": int(region.mask.sum()),
            "busy": (cpu_seconds() - before) / seconds,
        }
    )


def cpu_seconds() -> float:
    """Return the processor seconds of this process and of the workers that it started."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def compare(folder: Path, n_rounds: int) -> None:
    """Measure every way in turn, several rounds, and write the tables."""
    found: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(n_rounds):
        for way in WAYS:
            found[way].append(json.loads(run_self(folder, "--way", way).output.splitlines()[-1]))
            print(way, found[way][-1], flush=True)
    for way, (_, _, reference) in WAYS.items():
        if (
            reference
            and way != "nsdcode_nearest"
            and found[way][0]["sum"] != found[reference][0]["sum"]
        ):
            sys.exit(f"{way} and {reference} differ")
    rows, missed = [], []
    for way, (_, title, reference) in WAYS.items():
        seconds = statistics.median(one["seconds"] for one in found[way])
        memory = statistics.median(one["peak_mb"] for one in found[way])
        ratios = [
            theirs["seconds"] / ours["seconds"]
            for theirs, ours in zip(found[way], found[reference or way], strict=True)
        ]
        ratio, goal = statistics.median(ratios), GOALS.get(way)
        missed += [way] if goal and ratio < goal and not TINY else []
        rows.append(
            [
                title,
                f"{seconds:.2f}",
                f"{memory:.0f}",
                f"{ratio:.1f}" if reference else "",
                f"{goal:g}" if goal else "",
            ]
        )
    text = (
        f"One session and one ROI; medians of {n_rounds} rounds. *Times slower* compares with "
        "this project; *goal* is what it should at least be.\n\n"
    )
    text += table(["way", "seconds", "peak memory, MB", "times slower", "goal"], rows)
    put_section("one session", text)
    if missed:
        sys.exit(f"missed the goal: {', '.join(missed)}")


def extract_many(folder: Path) -> None:
    """Extract 10, 20 and 40 sessions, three times each, and write the table."""
    rows, n_voxels = [], 0
    for n_sessions in SESSIONS:
        runs = [run_self(folder, "--sessions", str(n_sessions)) for _ in range(sized(3, 1))]
        results = [json.loads(run.output.splitlines()[-1]) for run in runs]
        seconds = statistics.median(result["seconds"] for result in results)
        busy = statistics.median(result["busy"] for result in results)
        memory = statistics.median(run.peak_mb for run in runs)
        n_voxels = results[0]["voxels"]
        rows.append(
            [
                str(n_sessions),
                f"{seconds:.1f}",
                f"{seconds / n_sessions:.2f}",
                f"{memory:.0f}",
                f"{busy:.1f}",
            ]
        )
        print(*rows[-1], flush=True)
    text = (
        f"Whole extractions of {n_voxels} voxels from `.hdf5`, all processes together; medians "
        "of 3.\n\n"
    )
    text += table(
        ["sessions", "seconds", "seconds a session", "peak memory, MB", "cores busy"], rows
    )
    put_section("many sessions", text)


def run_self(folder: Path, *arguments: str) -> Measured:
    """Run this script in a process of its own."""
    return run_measured([sys.executable, __file__, "--folder", str(folder), *arguments])


if __name__ == "__main__":
    main()
