"""A store is looked at before it is believed: whether it can be opened, and where its files are."""

import logging
import os
import re
import socket
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

logger = logging.getLogger(__name__)
_SQLITE, _MAGIC = "sqlite:///", b"SQLite format 3\0"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SECONDS_TO_ANSWER = 5
# Columns in which a database of MLflow keeps absolute places of files.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def database_of(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for other stores."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def refuse_unusable(uri: str) -> None:
    """Refuse a store that cannot be opened: MLflow would try again, silently, for minutes.

    Raises
    ------
    OSError
        If the database is no database, or its server does not answer.
    """
    if (path := database_of(uri)) is not None:
        if path.is_dir():
            raise OSError(f"{path} is a folder, expected a database; move it away")
        if path.exists() and not path.is_file():
            raise OSError(f"{path} is a pipe or device, expected a database; move it away")
        if path.exists() and _start_of(path) not in (b"", _MAGIC):
            raise OSError(f"{path} is no SQLite database; move it away: fmri2img track fills a new")
        return
    if uri.startswith(("http:", "https:")):  # may be behind a proxy; MLflow gives it up soon
        try:
            urlsplit(uri)
        except ValueError as error:
            raise OSError(f"it is no address of a server ({error})") from error
        return
    try:
        address = make_url(uri)
    except ArgumentError:  # MLflow knows other kinds of stores
        return
    port = address.port or _PORTS.get(address.get_backend_name())
    if not port or not address.host or "," in address.host:
        return
    try:
        socket.create_connection((address.host, port), _SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise OSError(f"{address.host}:{port} does not answer ({error})") from error


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_MAGIC))


def without_password(uri: str) -> str:
    """Return the address of a store as it may be shown."""
    return re.sub(r"(://[^/:@]*):.*@", r"\1:***@", uri)


def follow_project(uri: str, mlruns: Path) -> None:
    """Let a database that was copied or moved with its project find its files there.

    MLflow keeps absolute places: a copy would read and write the files of the original.

    Parameters
    ----------
    uri : str
        The store.
    mlruns : Path
        The folder of its files, absolute.
    """
    database = database_of(uri)
    if database is None or not database.exists() or not database.stat().st_size:
        return
    # A database elsewhere is shared, and another folder's; one that is read-only stays as it is.
    if database.resolve().parent != mlruns.resolve().parent or not os.access(database, os.W_OK):
        return
    connection = sqlite3.connect(database, timeout=_SECONDS_TO_ANSWER)
    try:
        _look_here(connection, mlruns)
    except sqlite3.Error as error:
        raise OSError(f"{database}: {error}") from error
    finally:
        connection.close()


def _look_here(connection: sqlite3.Connection, mlruns: Path) -> None:
    for place in _earlier_places(connection, mlruns.name, mlruns.as_uri()):
        logger.warning(
            "MLflow: mlflow.db names files in %s, from where this folder was copied or moved; "
            "from now on they are looked for in %s",
            place,
            mlruns,
        )
        with connection:
            _move(connection, place, mlruns.as_uri())


def _earlier_places(connection: sqlite3.Connection, name: str, here: str) -> list[str]:
    """Return other folders of this name in which experiments keep files."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if "experiments" not in tables:  # MLflow makes them
        return []
    rows = connection.execute("SELECT artifact_location FROM experiments").fetchall()
    places = set()
    for (location,) in rows:
        before, separator, _ = (location or "").rpartition(f"/{name}/")
        if separator and before.startswith("file:") and f"{before}/{name}" != here:
            places.add(f"{before}/{name}")
    return sorted(places)


def _move(connection: sqlite3.Connection, old: str, new: str) -> None:
    for table, column in _PLACES:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        if column in columns:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 (fixed)
                f"WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )


def relative_if_needed(path: Path) -> str:
    """Return the address of a SQLite store; a path with a question mark, behind which drivers look
    for options, or with %20 and the like, which they take for characters, is given relative to the
    current folder.
    """
    is_plain = not re.search(r"\?|%[0-9A-Fa-f]{2}", str(path))
    return f"{_SQLITE}{path if is_plain else os.path.relpath(path)}"
