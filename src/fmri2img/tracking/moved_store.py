"""A project that was moved, renamed or copied: MLflow's database holds absolute paths, and would
write into the folder that it came from.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

logger = logging.getLogger(__name__)
# Columns with the addresses of files, by table.
_ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def follow_move(database: Path, was: str, now: str) -> int:
    """Replace the start of every address in a database of MLflow; returns how many changed.

    Parameters
    ----------
    database : Path
        Changed in one transaction.
    was, now : str
        Address of the earlier folder, and of today's, without a slash at the end.
    """
    n_changed = 0
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for table, columns in _ADDRESSES.items():
            present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            for column in present.intersection(columns):
                # By length and not by LIKE: paths may hold its wildcards.
                n_changed += connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE substr({column}, 1, ?) = ?",
                    (f"{now}/", len(was) + 2, len(was) + 1, f"{was}/"),
                ).rowcount
    logger.info("MLflow: the project was at %s; %d addresses follow it here", was, n_changed)
    return n_changed
