from pathlib import Path

import pytest

from fmri2img.provenance.reach import Program, Reach
from fmri2img.provenance.stage_fingerprints import differing, fingerprints
from fmri2img.provenance.why import Pipeline

FILES = {
    "fmri2img/__init__.py": "",
    "fmri2img/project/files.py": "def write(path, text): ...\ndef read(path): ...\n",
    "fmri2img/pipeline/stage.py": "def run_stage(main): main()\n",
    "fmri2img/models/__init__.py": "",
    "fmri2img/models/ridge.py": (
        "from fmri2img.models.base import Encoder\nSTEPS = 3\nclass Model(Encoder):\n    def "
        "solve(self): return STEPS\n"
    ),
    "fmri2img/models/net.py": "from fmri2img.models.base import Encoder\nclass Model(Encoder):\n   "
    " def solve(self): return 9\n",
    "fmri2img/models/base.py": "from torch import nn\nclass Encoder(nn.Module):\n    def "
    "forward(self): return self.solve()\n",
    "fmri2img/box.py": (
        "from dataclasses import dataclass\nfrom fmri2img.project.files import write as put\n"
        "DEPTH = 2\n@dataclass\nclass Box:\n    size: int\n"
        "    def save(self): put(self.size, DEPTH)\n    def unused(self): return NEVER\nNEVER = 1\n"
    ),
    "fmri2img/view.py": "def show(): return 'page.html.jinja'\n",
    "fmri2img/page.html.jinja": "{{ box.size }}",
    "stages/__init__.py": "",
    "stages/store.py": (
        "from fmri2img.box import Box\nfrom fmri2img.pipeline.stage import run_stage\ndef "
        "main(subject):\n    Box(3).save()\n"
        "if __name__ == '__main__':\n    run_stage(main)\n"
    ),
    "stages/fit.py": (
        "import importlib\ndef main(model):\n    return "
        "importlib.import_module(f'fmri2img.models.{model}').Model().forward()\n"
    ),
    "stages/page.py": "from fmri2img import view\ndef main():\n    view.show()\n",
    "stages/fingerprint.py": "def main(): ...\n",
}


def names(stage, **changes):
    return set(Reach(Program.parse(FILES | changes), [f"stages.{stage}.main"]).definitions)


def stale(**changes):
    """Stages whose fingerprint a change of files changes."""
    before, after = fingerprints(Program.parse(FILES)), fingerprints(Program.parse(FILES | changes))
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_names_are_followed_and_methods_only_where_somebody_asks_for_them():
    assert names("store") == {
        "stages.store.main",
        "fmri2img.box.Box",
        "fmri2img.box.Box.save",
        "fmri2img.box.DEPTH",
        "fmri2img.project.files.write",
    }


def test_what_a_library_may_call_counts_whole():
    assert "fmri2img.models.base.Encoder.forward" in names("fit")


def test_a_model_that_is_loaded_by_name_has_a_fingerprint_of_its_own():
    assert set(fingerprints(Program.parse(FILES))) == {"store", "page", "fit/ridge", "fit/net"}
    assert stale(
        **{
            "fmri2img/models/ridge.py": FILES["fmri2img/models/ridge.py"].replace(
                "STEPS = 3", "STEPS = 4"
            )
        }
    ) == {"fit/ridge"}
    assert stale(
        **{"fmri2img/models/base.py": FILES["fmri2img/models/base.py"].replace("self.solve()", "0")}
    ) == {"fit/ridge", "fit/net"}


def test_without_a_chosen_model_all_of_them_count():
    assert {"fmri2img.models.ridge.Model", "fmri2img.models.net.Model"} <= names("fit")


def test_a_new_model_is_no_change_of_the_others():
    assert stale(**{"fmri2img/models/new.py": FILES["fmri2img/models/net.py"]}) == {"fit/new"}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("fmri2img/box.py", "DEPTH = 2", "DEPTH = 3", {"store"}),
        ("fmri2img/box.py", "NEVER = 1", "NEVER = 2", set()),
        (
            "fmri2img/box.py",
            "import write as put",
            "import read as put",
            {"store"},
        ),  # the same words, and another meaning
        (
            "fmri2img/project/files.py",
            "write(path, text): ...",
            "write(path, text): return 1",
            {"store"},
        ),
        ("fmri2img/pipeline/stage.py", "main()", "main() or 1", set()),
        ("fmri2img/page.html.jinja", "size", "size + 1", {"page"}),
        ("fmri2img/page.html.jinja", "{{ box", "{# a remark #}\n{{ box", set()),
        ("stages/page.py", "view.show()", "view.show() and view.show()", {"page"}),
        ("stages/store.py", "run_stage(main)", "run_stage(main) and 0", set()),
        (
            "fmri2img/__init__.py",
            "",
            "import os\nos.environ['A'] = '1'\n",
            {"store", "page", "fit/ridge", "fit/net"},
        ),
    ],
)
def test_a_change_reaches_the_stages_that_use_it_and_no_other(file, old, new, expected):
    assert stale(**{file: FILES[file].replace(old, new) if old else new}) == expected


def test_what_moves_to_another_file_stays_the_same():
    moved = FILES["fmri2img/box.py"].replace("DEPTH = 2\n", "from fmri2img.depths import DEPTH\n")
    assert stale(**{"fmri2img/box.py": moved, "fmri2img/depths.py": "DEPTH = 2\n"}) == set()


def test_a_name_that_is_passed_on_is_followed():
    passed = FILES["fmri2img/box.py"].replace(
        "from fmri2img.project.files import write as put", "from fmri2img.io import put"
    )
    files = {
        "fmri2img/box.py": passed,
        "fmri2img/io.py": "from fmri2img.project.files import write as put\n",
    }
    assert stale(**files) == set()
    assert stale(**files, **{"fmri2img/project/files.py": "def write(path, text): return 2\n"}) == {
        "store"
    }


def test_what_differs_is_named_and_its_users_are_not():
    before = fingerprints(Program.parse(FILES))["store"]
    after = fingerprints(
        Program.parse(FILES | {"fmri2img/project/files.py": "def write(path, text): return 2\n"})
    )["store"]
    assert differing(before, after) == ["write"]
    other = fingerprints(
        Program.parse(
            FILES
            | {"fmri2img/box.py": FILES["fmri2img/box.py"].replace("write as put", "read as put")}
        )
    )["store"]
    assert differing(before, other) == ["read", "write"]


def described(stage, before, after):
    """A change of files in words."""
    was, now = (fingerprints(Program.parse(FILES | files))[stage] for files in (before, after))
    pipeline = Pipeline(Path(), [], {}, {}, {}, {}, {}, {}, history=None)
    pipeline.program = Program.parse(FILES | after)
    return pipeline.describe(differing(was, now), was, now)


def test_a_change_is_told_as_new_code_or_other_imports_or_no_longer_used():
    box = FILES["fmri2img/box.py"]
    path = "fmri2img.project.files import write"
    read, copy, move = (
        {"fmri2img/box.py": box.replace(path, other)}
        for other in (path.replace("write", "read"), "shutil import copy", "shutil import move")
    )
    assert described("store", {}, read) == (
        "read (src/fmri2img/project/files.py), write (no longer used)"
    )
    assert described("store", copy, move) == "Box.save (its imports)"
    assert described("page", {}, {"fmri2img/page.html.jinja": "{{ box.depth }}"}) == (
        "page.html.jinja"
    )
