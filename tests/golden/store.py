"""A store of MLflow as a version of the project left it: as SQL, to be read, moved, compared."""

import re
import shutil
import sqlite3

PLACE = "/the/project"  # stands for the folder that the store was made in
# Temporary folders, and the scripts of whoever made it.
_ELSEWHERE = re.compile(r"/(?:tmp|home|work|root|var)/(?:[^\s'\",]*/)?")
_TEXTS = ("", ".yaml", ".txt", ".json")


def keep_store(project, folder):
    """Write the store of a project into a folder: its database as SQL, its files as they are."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        project / "mlruns", folder / "mlruns", ignore=shutil.ignore_patterns("__pycache__")
    )
    connection = sqlite3.connect(project / "mlflow.db")
    lines = "\n".join(connection.iterdump())
    connection.close()
    (folder / "mlflow.sql").write_text(_without_places(lines, project) + "\n")
    for code in folder.glob(
        "mlruns/*/models/*/artifacts/code"
    ):  # the same in every model: kept once
        shutil.rmtree(folder / "code", ignore_errors=True)
        shutil.move(code, folder / "code")
    for path in _texts(folder):
        path.write_text(_without_places(path.read_text(), project))


def _without_places(text, project):
    text = _ELSEWHERE.sub("/elsewhere/", text.replace(str(project), PLACE))
    return text.replace("'mlflow.user','root'", "'mlflow.user','somebody'")


def _texts(folder):
    return [
        path for path in (folder / "mlruns").rglob("*") if path.is_file() and path.suffix in _TEXTS
    ]


def restore_store(folder, project):
    """Put a kept store into a project's folder."""
    shutil.copytree(folder / "mlruns", project / "mlruns")
    for model in (project / "mlruns").glob("*/models/*/artifacts"):
        shutil.copytree(folder / "code", model / "code")
    connection = sqlite3.connect(project / "mlflow.db")
    connection.executescript((folder / "mlflow.sql").read_text().replace(PLACE, str(project)))
    connection.close()
    for path in _texts(project):
        path.write_text(path.read_text().replace(PLACE, str(project)))
