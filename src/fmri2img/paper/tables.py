"""Tables of a manuscript, as CSV with all digits and as LaTeX."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fmri2img.evaluation.inference import p_text
from fmri2img.evaluation.metrics_document import floor_of
from fmri2img.evaluation.table_rows import CEILING, MODEL, REFERENCE
from fmri2img.paper.facts import Facts
from fmri2img.paper.latex import escaped
from fmri2img.viz.signs import BETTER, SIGNS, WORSE

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name : str
        Of its files, and of its label in LaTeX.
    caption : str
        Markdown.
    headings : tuple of str
    rows : tuple of tuple of str
        Cells as a manuscript prints them; what follows the first line of a cell is printed small
        below it.
    records : tuple of dict
        The same numbers with all digits, for CSV.
    """

    name: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    records: tuple[dict[str, Cell], ...] = field(default=())

    def csv(self) -> str:
        """Return the records as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records)
        return text.getvalue()

    def latex(self) -> str:
        """Return the rows as a LaTeX table that needs ``booktabs``."""
        body = "\n".join(_latex_line(row) for row in self.rows)
        columns = "".join(
            "r" if _is_counted(cells) else "l" for cells in zip(*self.rows, strict=True)
        )
        return (
            "\\setlength{\\tabcolsep}{4pt}\n"
            f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
            f"{_latex_line(self.headings)}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
        )


def _is_counted(cells: Sequence[str]) -> bool:
    """Whether a column has whole numbers only, which stand flush right."""
    return all(cell.isdigit() for cell in cells)


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex_cell, cells)) + r" \\"


def _latex_cell(cell: str) -> str:
    first, *below = map(escaped, cell.split("\n"))
    if not below:
        return first
    lines = r" \\ ".join([first, *(rf"\scriptsize {line}" for line in below)])
    return rf"\begin{{tabular}}[t]{{@{{}}l@{{}}}}{lines}\end{{tabular}}"


def tables(facts: Facts) -> list[Table]:
    """Return all tables of a manuscript."""
    made_of = [_participants(facts), _scores(facts)]
    return [*made_of, _differences(facts)] if facts.differences else made_of


def _flag(facts: Facts) -> str:
    return " **Simulated data.**" if facts.is_simulated else ""


def _participants(facts: Facts) -> Table:
    records: list[dict[str, Cell]] = [
        {
            "subject": one.subject,
            "voxels": one.n_voxels,
            "sessions": one.n_sessions,
            "trials": one.n_trials,
            "training images": one.n_train,
            "validation images": one.n_validation,
            "test images": one.n_test,
        }
        for one in facts.participants
    ]
    return Table(
        name="participants",
        caption=f"Data of each subject.{_flag(facts)}",
        headings=tuple(records[0]),
        rows=tuple(tuple(map(str, record.values())) for record in records),
        records=tuple(records),
    )


def _scores(facts: Facts) -> Table:
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, Cell]] = []
    for encoder in facts.encoders:
        cells = [encoder.subject, f"{encoder.model}{' *' if encoder.is_champion else ''}"]
        for name in facts.metrics:
            numbers = _numbers(encoder.means, encoder.intervals, name)
            outcome = encoder.against_reference.get(name, "")
            cells.append(_score_cell(numbers, SIGNS.get(outcome, "")))
            records.append(
                {
                    "subject": encoder.subject,
                    "model": encoder.model,
                    "champion": str(encoder.is_champion).lower(),
                    "metric": name,
                    **numbers,
                    f"against {REFERENCE}": outcome,
                    "test images": encoder.n_images,
                }
            )
        rows.append(tuple(cells))
    return Table(
        name="scores",
        caption="Scores on test images; below, in square brackets, 95 % intervals over images, and "
        "in round ones the floor, the best of predictions that know nothing of the image. * best "
        f"on validation images. {BETTER} better, {WORSE} worse than `{REFERENCE}` (p < .05 after "
        f"Holm).{_flag(facts)}",
        headings=("subject", "encoder", *(metric.heading for metric in facts.metrics.values())),
        rows=tuple(rows),
        records=tuple(records),
    )


def _numbers(
    means: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, tuple[float, float]],
    metric: str,
) -> dict[str, Cell]:
    """Return a score with its interval, floor and ceiling; None for what is absent."""
    low, high = intervals.get(metric, (None, None))
    floor = floor_of(metric, means)
    return {
        "score": means[MODEL].get(metric),
        "low": low,
        "high": high,
        "floor": floor.value if floor else None,
        "ceiling": means.get(CEILING, {}).get(metric),
    }


def _score_cell(numbers: Mapping[str, Cell], sign: str) -> str:
    if numbers["score"] is None:
        return "–"
    shown = f"{numbers['score']:.3f}{sign}"
    if numbers["low"] is not None:
        shown += f"\n[{numbers['low']:.3f}, {numbers['high']:.3f}]"
    return shown + (f"\n({numbers['floor']:.3f})" if numbers["floor"] is not None else "")


def _differences(facts: Facts) -> Table:
    titles = facts.tested
    records: list[dict[str, Cell]] = [
        {
            "subject": item["subject"],
            "encoders": item["models"],
            "metric": item["metric"],
            "difference": item["mean"],
            "low": item["interval"][0],
            "high": item["interval"][1],
            "d": item.get("effect"),
            "p after Holm": item["p_holm"],
        }
        for item in facts.differences
    ]
    return Table(
        name="differences",
        caption=f"Differences from `{REFERENCE}` on the same test images, with paired 95 % "
        "intervals over images; d: mean of the differences over their SD; p by sign flips, after "
        f"Holm's correction over {facts.family_sizes['differences']} tests.{_flag(facts)}",
        headings=("subject", "encoders", "score", "difference", "d", "p"),
        rows=tuple(_difference_rows(records, {name: one.heading for name, one in titles.items()})),
        records=tuple(records),
    )


def _difference_rows(
    records: Sequence[Mapping[str, Cell]], titles: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    for record in records:
        yield (
            str(record["subject"]),
            str(record["encoders"]),
            titles.get(str(record["metric"]), str(record["metric"])),
            f"{record['difference']:+.3f} [{record['low']:+.3f}, {record['high']:+.3f}]",
            "–" if record["d"] is None else f"{record['d']:.2f}",
            p_text(float(record["p after Holm"] or 0)),
        )
