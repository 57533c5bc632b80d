"""How good the encoders are on simulated subjects: every model, four subjects, 75 trials to ten
sessions, two kinds of pictures, and every simulated world.

    python benchmarks/quality.py --photos PHOTOGRAPHS --work FOLDER

Trains what is not in the work folder yet, one process a core, and writes the tables of
benchmarks/README.md from what is there. SIMULATED DATA.
"""

import argparse
import os
from pathlib import Path

from joblib import Parallel, delayed
from quality_jobs import GROUPS, all_jobs, jobs_of_worlds, run
from quality_tables import write_tables
from worlds import load_pool


def main() -> None:
    """Train what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--photos",
        type=Path,
        default=None,
        help="folder of .jpg photographs; without it, painted scenes only",
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder for pictures and results; existing ones are kept",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument(
        "--tables", action="store_true", help="only write the tables of the existing results"
    )
    parser.add_argument("--only", choices=GROUPS, default="", help="only this group of models")
    parser.add_argument("--worlds", action="store_true", help="only the worlds, on scenes")
    options = parser.parse_args()
    kinds = ["scenes", *(["photos"] if options.photos and not options.worlds else [])]
    if not options.tables:
        jobs = jobs_of_worlds() if options.worlds else all_jobs(kinds)
        jobs = [job for job in jobs if options.only in ("", job.group)]
        for kind in dict.fromkeys(job.stimuli for job in jobs):
            load_pool(kind, options.photos, options.work)
        Parallel(n_jobs=options.jobs, verbose=5)(
            delayed(run)(job, options.photos, options.work) for job in jobs
        )
    write_tables(options.work, [] if options.worlds else kinds)


if __name__ == "__main__":
    main()
