"""Which Python ``make install`` takes, and what it says where there is none that will do."""

import subprocess
import sys

import pytest

from conftest import REPOSITORY


def find(**variables):
    return subprocess.run(
        [REPOSITORY / "scripts/find_python.sh"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **variables},
    )


@pytest.fixture
def pythons(tmp_path):
    """Stand-ins that answer what the script asks."""

    def write(name, version, modules="pass"):
        path = tmp_path / name
        numbers = tuple(map(int, version.split(".")))
        patched = (
            "import sys, platform; "
            f"sys.version_info = {numbers}; platform.python_version = lambda: '{version}'; "
            f"{modules}; exec(sys.argv.pop(1))"
        )
        path.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{patched}" "$@"\n')
        path.chmod(0o755)
        return str(path)

    return write


@pytest.mark.parametrize("version", ["3.11.7", "3.12.1", "3.13.0"])
def test_the_one_that_is_named_is_taken(pythons, version):
    path = pythons("python", version)
    result = find(PYTHON=path)
    assert (result.returncode, result.stdout) == (0, f"{path}\n")


def test_others_are_passed_over(pythons):
    old, new, fit = (
        pythons(name, version)
        for name, version in (("old", "3.10.13"), ("new", "3.14.0"), ("fit", "3.12.1"))
    )
    assert find(PYTHON=f"nothing {old} {new} {fit}").stdout == f"{fit}\n"


def test_none_is_one_line_that_says_which_were_tried(pythons):
    old = pythons("old", "3.10.13")
    bare = pythons("bare", "3.12.1", "sys.modules['ensurepip'] = None")
    result = find(PYTHON=f"python3.99 {old} {bare}")
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no Python from 3.11 to 3.13 that can make environments; tried: ")
    assert "python3.99 (not there)" in line
    assert f"{old} (3.10.13)" in line
    assert f"{bare} (3.12.1, without venv: on Debian and Ubuntu install bare-venv)" in line
    assert line.endswith("install one, or name it: make install PYTHON=/path/to/python3.12")
