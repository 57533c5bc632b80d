"""Print the scores of the last comparison, the files to open and the next command (``make
summary``).
"""

from pathlib import Path

from fmri2img.project.files import read_json
from fmri2img.project.layout import comparison_path, gallery_path
from fmri2img.viz.summary import terminal_summary


def main() -> None:
    comparison = read_json(comparison_path("json"), remedy="make demo")
    runs = [dict(value, name=name) for name, value in comparison["runs"].items()]
    champions = [run["name"].split("/") for run in runs if run["champion"]]
    pages: list[Path] = [comparison_path("html"), *(gallery_path(*names) for names in champions)]
    print(terminal_summary(runs, comparison["data_source"], pages))


if __name__ == "__main__":
    main()
