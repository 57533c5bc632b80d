"""Write the table of all declared metrics into docs/metrics.md; with ``--check``, only check that
it is up to date.
"""

import argparse
import sys
from pathlib import Path

from fmri2img.evaluation.metrics.catalogue import all_metrics
from fmri2img.evaluation.metrics.declaration import Metric
from fmri2img.evaluation.table_rows import ROWS
from fmri2img.project.files import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs/metrics.md"
BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"
HEAD = ["name", "title", "compares", "better", "chance", "shown", "in the literature", "needs"]
SHOWN = {
    "headline": "everywhere",
    "main": "comparison",
    "more": "pages",
    "variant": "pages, as a variant",
}


def line(metric: Metric) -> str:
    """Return one metric as a row of the table."""
    chance = metric.chance
    cells = [
        f"`{metric.name}`",
        metric.title,
        metric.space,
        "higher" if metric.higher_is_better else "lower",
        f"the row *{ROWS[chance].title}*" if isinstance(chance, str) else f"{chance:g}",
        SHOWN[metric.level],
        "yes" if metric.published else "no",
        f"network `{metric.network}`" if metric.network else "nothing",
    ]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """Return the whole table."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    return "\n".join([*lines, *map(line, all_metrics().values())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit with 1 if the table is out of date",
    )
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    renewed = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if options.check and renewed != page:
        sys.exit(f"{PAGE} is out of date; run: python scripts/metrics_table.py")
    if not options.check:
        write_text(PAGE, renewed)


if __name__ == "__main__":
    main()
