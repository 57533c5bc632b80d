"""DVC's push and pull, reading the pipeline once and not again for every named stage:
``python -m fmri2img.sharing.transfer``.
"""

import sys
from typing import Any


def main() -> int:
    """Run DVC with the arguments of this process; returns its exit code."""
    from dvc.cli import main as run_dvc
    from dvc.repo.stage import StageInfo, StageLoad

    granular, whole = StageLoad.collect_granular, StageLoad.from_target

    # DVC 3.67 parses dvc.yaml and dvc.lock for every name, in both of these: 24 s for 22 stages.
    def collect_granular(
        self: Any, target: str | None = None, *arguments: Any, **options: Any
    ) -> list:
        return [StageInfo(stage) for stage in _named(self, target)] or granular(
            self, target, *arguments, **options
        )

    def from_target(self: Any, target: str, *arguments: Any, **options: Any) -> Any:
        return _named(self, target) or whole(self, target, *arguments, **options)

    StageLoad.collect_granular, StageLoad.from_target = collect_granular, from_target
    return int(run_dvc(sys.argv[1:]))


def _named(loader: Any, target: str | None) -> list:
    return [
        stage
        for stage in loader.repo.index.stages
        if target in (stage.addressing, stage.addressing.partition("@")[0])
    ]


if __name__ == "__main__":
    sys.exit(main())
