"""Make a release: set the version, close the changelog's section, list the packages, try the wheel
and the source distribution with every Python, then commit and tag.

    python scripts/release.py 0.3.0

Nothing is pushed. If a step fails, the files are as they were.
"""

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["python3.11", "python3.12", "python3.13"]
UNRELEASED = "## Unreleased\n"


class ReleaseError(Exception):
    """Why no release is made."""


def main() -> None:
    """Release the version that is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("version", help="such as 0.3.0")
    parser.add_argument(
        "--pythons",
        nargs="*",
        default=PYTHONS,
        metavar="PYTHON",
        help="interpreters that the packages are tried with; none: not tried",
    )
    parser.add_argument(
        "--project", type=Path, default=ROOT, help="a finished project to try the packages on"
    )
    options = parser.parse_args()
    try:
        release(options.version, options.pythons, options.project)
    except ReleaseError as error:
        sys.exit(f"error: {error}")


def release(version: str, pythons: list[str], project: Path) -> None:
    """Check, edit, try, commit and tag.

    Raises
    ------
    ReleaseError
        If the version is no later one, the tree is not clean, the changelog says nothing, or a step
        fails.
    """
    texts = edited(version, datetime.datetime.now(datetime.UTC).date().isoformat())
    if changes := git("status", "--porcelain"):
        raise ReleaseError(
            f"{len(changes.splitlines())} files differ from the last commit, first "
            f"{changes.splitlines()[0][3:]}; commit or restore them"
        )
    if git("tag", "--list", f"v{version}"):
        raise ReleaseError(f"there is a tag v{version}; name a later version")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    try:
        run(sys.executable, "scripts/list_packages.py")
        if pythons:
            run(sys.executable, "scripts/check_packages.py", *pythons, "--project", str(project))
    except BaseException:
        git("checkout", "--quiet", "--", ".")
        raise
    git("commit", "--quiet", "--all", "--message", f"release: {version}")
    git("tag", "--annotate", f"v{version}", "--message", f"fmri2img {version}")
    print(f"v{version} is committed and tagged; publish it: git push --follow-tags")


def edited(version: str, day: str) -> dict[Path, str]:
    """Return the files that name the version, with the new one.

    Raises
    ------
    ReleaseError
        If it is no later version, or nothing has changed since the last.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"version: got {version!r}, expected three numbers, such as 0.3.0")
    names = ("pyproject.toml", "src/fmri2img/project/version.py", "CITATION.cff", "CHANGELOG.md")
    paths = {name: ROOT / name for name in names}
    project, package, citation, changes = (
        path.read_text(encoding="utf-8") for path in paths.values()
    )
    found = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    current = found[1] if found else ""
    if numbers(version) <= numbers(current):
        raise ReleaseError(f"version: got {version}, expected one after {current}")
    section = changes.partition(UNRELEASED)[2].partition("\n## ")[0]
    if not section.strip():
        raise ReleaseError("CHANGELOG.md: nothing under Unreleased; say what has changed")
    stated = re.sub(r"^(version|date-released): .*\n", "", citation, flags=re.MULTILINE)
    line = f"version: {version}\ndate-released: {day}\n"
    return {
        paths["pyproject.toml"]: project.replace(
            f'version = "{current}"', f'version = "{version}"', 1
        ),
        paths["src/fmri2img/project/version.py"]: package.replace(
            f'VERSION = "{current}"', f'VERSION = "{version}"', 1
        ),
        paths["CITATION.cff"]: stated.replace("license:", f"{line}license:", 1),
        paths["CHANGELOG.md"]: changes.replace(
            UNRELEASED, f"{UNRELEASED}\n## {version} ({day})\n", 1
        ),
    }


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers, which can be compared."""
    return tuple(map(int, version.split(".")))


def git(*words: str) -> str:
    """Return what git prints."""
    return run("git", *words)


def run(*command: str) -> str:
    """Return what a command in the repository prints.

    Raises
    ------
    ReleaseError
        If it fails.
    """
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        words = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise ReleaseError(f"{' '.join(command)}: {words[-1] if words else 'failed'}")
    return result.stdout


if __name__ == "__main__":
    main()
