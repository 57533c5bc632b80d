"""Write down that the code of each stage, however it was rewritten, gives the results of an earlier
commit: ``python tests/golden/rewritten.py VERSION=COMMIT ...``.

Run it only when ``pytest tests/golden`` has found every golden array and score bit-equal; it asks
for that run's miniature, whose arrays it compares once more. Of stages that are named ``--rounded``
the goldens were made anew because sums are taken in another order: they are held against those of
a commit, within the tolerance for another processor, and nothing else may have moved.

Stages that are named ``--extended`` give more than they did; what was in the goldens before is
bit-equal.

A model whose results moved, or that the miniature lacks, is trained again: ``--except
train/MODEL``. If the simulator itself changed, the miniature is one whose raw files and receipts
come from the earlier commit, and ``--except fetch_raw`` says that this stage runs again for
everybody.

Of a model that the miniature lacks, ``--checked train/MODEL=COMMIT`` says that its results were
compared by hand with those of a commit, and differ by rounding: that commit's results, and all that
its own file lists, are kept as rounded ones.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fmri2img.project.layout import FINGERPRINTS
from fmri2img.provenance.reach import Program
from fmri2img.provenance.rewritten import (
    NAME,
    current_fingerprints,
    earlier_models,
    fingerprint_md5,
)
from fmri2img.provenance.stage_fingerprints import SOURCE, fingerprints
from golden.collect import collect_metrics, collect_miniature
from golden.compare import differences, load
from miniature import REPOSITORY, SUBJECT

# Golden arrays whose file has another name than in the commit that --goldens-of names.
RENAMED = {
    f"data/{kind}.h5: {name}": f"data/{kind}/{SUBJECT}.h5: {name}"
    for kind, names in {
        "truth": ("image_ids", "images"),
        "prior": ("image_ids", "values", "energies"),
    }.items()
    for name in names
}
OWN_FINGERPRINTS = "from stages.fingerprint import main; main()"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="+", metavar="VERSION=COMMIT")
    parser.add_argument("--template", type=Path, required=True, help="the finished miniature")
    parser.add_argument("--rounded", nargs="*", default=[], metavar="STAGE/MODEL")
    parser.add_argument("--extended", nargs="*", default=[], metavar="STAGE/MODEL")
    parser.add_argument("--goldens-of", metavar="COMMIT", help="what those were before")
    parser.add_argument("--except", nargs="*", default=[], metavar="STAGE", dest="others")
    parser.add_argument("--checked", nargs="*", default=[], metavar="STAGE/MODEL=COMMIT")
    options = parser.parse_args()
    for kind, collect in (("miniature", collect_miniature), ("metrics", collect_metrics)):
        if lines := differences(load(kind)["entries"], collect(options.template), exact=True):
            sys.exit(f"{kind}: {len(lines)} entries are not the golden ones, first {lines[0]}")
        if options.rounded:
            check_rounding(kind, options.goldens_of, options.rounded)
        if options.extended:
            check_extension(kind, options.goldens_of)
    now = fingerprints(Program.read(REPOSITORY / SOURCE))
    made = {name: fingerprint_md5(text) for name, text in now.items()}
    others = set(options.others)
    made = {name: md5 for name, md5 in made.items() if not {name, name.split("/")[0]} & others}
    kept = options.template / FINGERPRINTS
    if other := [name for name in made if (kept / f"{name}.txt").read_text() != now[name]]:
        sys.exit(f"the miniature was made by other code of {other[0]}; make it anew")
    entries = {name: {"now": md5, "earlier": {}, "rounded": {}} for name, md5 in made.items()}
    for version, _, commit in (item.partition("=") for item in options.versions):
        models = earlier_models(files_of(commit))
        for name, text in at(commit):
            for current in current_fingerprints(name, models):
                if current in entries and fingerprint_md5(text) != made[current]:
                    kinds = {"rounded": options.rounded, "extended": options.extended}
                    how = next(
                        (kind for kind, named in kinds.items() if current in named), "earlier"
                    )
                    entries[current].setdefault(how, {})[fingerprint_md5(text)] = version
    for name, _, commit in (item.partition("=") for item in options.checked):
        before = json.loads(shown_at(commit, f"src/fmri2img/provenance/{NAME}"))[name]
        known = before["earlier"] | before["rounded"] | before.get("extended", {})
        rounded = known | {before["now"]: "0.2"}
        entries[name] = {"now": fingerprint_md5(now[name]), "earlier": {}, "rounded": rounded}
    path = REPOSITORY / "src/fmri2img/provenance" / NAME
    path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
    print(f"{path}: {len(entries)} fingerprints")


def shown_at(commit, path):
    """A file of a commit."""
    command = ["git", "show", f"{commit}:{path}"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return shown.stdout


def check_extension(kind, commit):
    """Stop if a golden of a commit is gone, or is another than today's."""
    was = json.loads(shown_at(commit, f"tests/golden/data/{kind}.json"))["entries"]
    now = {name: value for name, value in load(kind)["entries"].items() if name in was}
    if lines := differences(was, now, exact=True):
        sys.exit(f"{kind}: {len(lines)} entries moved, first {lines[0]}")


def check_rounding(kind, commit, rounded):
    """Stop if goldens moved since a commit by more than rounding, or of other models."""
    shown = shown_at(commit, f"tests/golden/data/{kind}.json")
    was = {RENAMED.get(name, name): value for name, value in json.loads(shown)["entries"].items()}
    now = load(kind)["entries"]
    texts = {name for name, value in was.items() if isinstance(value, str)}
    was, now = (
        {name: value for name, value in entries.items() if name not in texts}
        for entries in (was, now)
    )
    if lines := differences(was, now, exact=False):
        sys.exit(f"{kind}: {len(lines)} entries moved by more than rounding, first {lines[0]}")
    models = {name.partition("/")[2] for name in rounded}
    for line in differences(was, now, exact=True):
        if not line.startswith("comparison/") and not any(model in line for model in models):
            sys.exit(f"{kind}: of another model: {line}")


def files_of(commit):
    """The paths of a commit's source files."""
    command = ["git", "ls-tree", "-r", "--name-only", commit, "src"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return shown.stdout.split()


def at(commit):
    """The fingerprints of a commit's sources: as today's code takes them, for a lock that names
    source files, and as its own code took them, which a later lock names. Pairs of name and text.
    """

    def git(*words, cwd=REPOSITORY):
        subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=True)

    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git("worktree", "add", "--detach", str(tree), commit)
        try:
            pairs = list(fingerprints(Program.read(tree / SOURCE)).items())
            if (tree / "src/stages/fingerprint.py").exists():
                command = [sys.executable, "-c", OWN_FINGERPRINTS]
                environment = os.environ | {"PYTHONPATH": str(tree / SOURCE)}
                subprocess.run(command, cwd=tree, env=environment, check=True)
                kept = tree / FINGERPRINTS
                names = sorted(path.relative_to(kept) for path in kept.rglob("*.txt"))
                pairs += [
                    (name.with_suffix("").as_posix(), (kept / name).read_text()) for name in names
                ]
        finally:
            git("worktree", "remove", "--force", str(tree))
    return pairs


if __name__ == "__main__":
    main()
