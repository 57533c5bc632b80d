"""Write down that the code of each stage, however it was rewritten, gives the results of an earlier
commit: ``python tests/golden/rewritten.py VERSION=COMMIT ...``.

Run it only when ``pytest tests/golden`` has found every golden array and score bit-equal; it asks
for that run's miniature, whose arrays it compares once more.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fmri2img.layout import FINGERPRINTS
from fmri2img.provenance.fingerprint import SOURCE, fingerprints
from fmri2img.provenance.reach import SUFFIXES, Program
from fmri2img.provenance.rewritten import NAME, fingerprint_md5
from golden.collect import collect_metrics, collect_miniature
from golden.compare import differences, load
from miniature import REPOSITORY


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="+", metavar="VERSION=COMMIT")
    parser.add_argument("--template", type=Path, required=True, help="the finished miniature")
    options = parser.parse_args()
    for kind, collect in (("miniature", collect_miniature), ("metrics", collect_metrics)):
        if lines := differences(load(kind)["entries"], collect(options.template), exact=True):
            sys.exit(f"{kind}: {len(lines)} entries are not the golden ones, first {lines[0]}")
    now = fingerprints(Program.read(REPOSITORY / SOURCE))
    made = {name: fingerprint_md5(text) for name, text in now.items()}
    kept = options.template / FINGERPRINTS
    if other := [name for name in made if (kept / f"{name}.txt").read_text() != now[name]]:
        sys.exit(f"the miniature was made by other code of {other[0]}; make it anew")
    entries = {name: {"now": md5, "earlier": {}} for name, md5 in made.items()}
    for version, _, commit in (item.partition("=") for item in options.versions):
        for name, text in at(commit).items():
            if name in entries and fingerprint_md5(text) != made[name]:
                entries[name]["earlier"][fingerprint_md5(text)] = version
    path = REPOSITORY / "src/fmri2img/provenance" / NAME
    path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
    print(f"{path}: {len(entries)} fingerprints")


def at(commit):
    """The fingerprints of a commit's sources, as today's code takes them."""

    def git(*words):
        command = ["git", *words]
        return subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout

    names = git("ls-tree", "-r", "--name-only", commit, str(SOURCE)).split()
    paths = [path for path in names if path.endswith(SUFFIXES)]
    sources = {path.removeprefix(f"{SOURCE}/"): git("show", f"{commit}:{path}") for path in paths}
    return fingerprints(Program.parse(sources))


if __name__ == "__main__":
    main()
