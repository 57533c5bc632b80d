"""Print the scores of the last comparison, the files to open and the next command (``make
summary``).
"""

import subprocess
from pathlib import Path

from fmri2img.project.layout import comparison_path, gallery_path, overview_path
from fmri2img.viz.summary import read_comparison, terminal_summary


def main() -> None:
    comparison, runs = read_comparison(comparison_path("json"), remedy="make demo")
    champions = [run["name"].split("/") for run in runs if run["champion"]]
    pages: list[Path] = [overview_path(), *(gallery_path(*names) for names in champions)]
    # Comparisons of earlier versions have none.
    sentences = comparison.get("verdict", [])
    print(terminal_summary(runs, comparison["data_source"], pages, sentences))
    if changed := changed_results():
        print(
            f"git: {len(changed)} committed results differ from yours, first {changed[0]}. Other "
            "settings change scores;\nanother processor or number of threads changes last digits: "
            "dvc metrics diff shows how much"
        )


def changed_results() -> list[str]:
    """Return the results under git that are not as committed; none outside a repository."""
    command = ["git", "status", "--porcelain", "--", "dvc.lock", "reports"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line[3:] for line in lines]


if __name__ == "__main__":
    main()
