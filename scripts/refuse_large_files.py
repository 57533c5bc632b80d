"""Refuse files of more than 1 MB in a commit (pre-commit hook): results belong to DVC."""

import sys
from pathlib import Path

LARGEST_BYTES = 1_000_000


def main() -> int:
    large = [path for path in sys.argv[1:] if Path(path).stat().st_size > LARGEST_BYTES]
    for path in large:
        size = Path(path).stat().st_size / 1e6
        print(
            f"{path}: {size:.1f} MB, expected at most 1 MB; results belong to DVC: dvc add {path}"
        )
    return int(bool(large))


if __name__ == "__main__":
    sys.exit(main())
