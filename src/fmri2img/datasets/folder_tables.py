"""What a folder's owner wrote: tables, read as texts and checked, and ``dataset.yaml``."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import check_file, read_text


def read_declared(path: Path) -> tuple[dict[str, Any], str]:
    """Read ``dataset.yaml``; returns what it declares, and its text.

    Raises
    ------
    FormatError
        If it is not YAML, or has no keys.
    """
    text = read_text(path, remedy=f"write {path} in UTF-8")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise FormatError(f"{path}: not valid YAML ({words}); correct the file") from error
    if not isinstance(values, dict | None):
        raise FormatError(f"{path}: expected keys with values; correct the file")
    return values or {}, text


def read_table(
    path: Path, columns: tuple[str, ...], *, separator: str = ",", command: str = ""
) -> pd.DataFrame:
    """Read a table as texts, with a comma or another character between columns; ``command`` brings
    a table that is not the user's own.

    Raises
    ------
    MissingDataError
        If it is not there.
    FormatError
        If it is not a table, or lacks a column or a value.
    """
    mend = f"run: {command}" if command else "write it as CSV"
    check_file(path, command or "write the table as CSV")
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        words = " ".join(str(error).split())
        raise FormatError(f"{path}: not a table ({words}); {mend}") from error
    if absent := [column for column in columns if column not in table]:
        raise FormatError(
            f"{path}: no column {absent[0]} among {', '.join(map(str, table))}; expected "
            f"{', '.join(columns)}"
        )
    for column in columns:
        if (empty := table[column] == "").any():
            raise FormatError(
                f"{path}: column {column}: line {int(empty.argmax()) + 2} is empty; fill it"
            )
    return table


def whole_numbers(path: Path, values: pd.Series, *, largest: int | None = None) -> pd.Series:
    """Return a column's texts as numbers, int64.

    Raises
    ------
    FormatError
        If a text is not a whole number, or a number is larger than ``largest``.
    """
    is_number = values.str.fullmatch(r"\d{1,18}")
    if not is_number.all():
        wrong = values[~is_number].iloc[0]
        raise FormatError(
            f"{path}: column {values.name}: got {wrong!r}, expected whole numbers; correct the "
            "table, or declare ids: texts if these are image ids"
        )
    numbers = values.astype(np.int64)
    if largest is not None and (numbers > largest).any():
        raise FormatError(
            f"{path}: column {values.name}: got {numbers.max()}, expected {largest} at most; "
            "correct the table"
        )
    return numbers
