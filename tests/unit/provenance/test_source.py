from pathlib import PurePosixPath

import pytest

from fmri2img.project.exceptions import FormatError
from fmri2img.provenance.definitions import STATEMENTS
from fmri2img.provenance.source import parse_module

BASE = '''
"""What the module is for."""

import numpy as np
from fmri2img.project.files import write_json

LIMIT = 1000.0


def count(values, *, top=LIMIT):
    """Count."""
    return [value for value in values if value < top]


class Box:
    """Holds."""

    size: int = 3

    def __len__(self):
        return self.size

    def open(self):
        return np.zeros(self.size)
'''


def digests(text):
    return {
        name: item.digest
        for name, item in parse_module(
            "fmri2img.a", PurePosixPath("fmri2img/a.py"), text
        ).definitions.items()
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 1000.0", "LIMIT = 1000.0  # a remark\n# another"),
        ('"""What the module is for."""', ""),
        ('"""Count."""', '"""Count them.\n\n    All.\n    """'),
        ('    """Holds."""\n', ""),
        (
            "import numpy as np\nfrom fmri2img.project.files import write_json",
            "from fmri2img.project.files import write_json\nimport numpy as np",
        ),
        ("LIMIT = 1000.0", "LIMIT = (\n    1e3\n)"),
        (
            "[value for value in values if value < top]",
            "[\n        value\n        for value in values\n        if (value < top)\n    ]",
        ),
        ("    size: int = 3", '    size: int = 3\n    """Of the box."""'),
    ],
)
def test_spelling_changes_no_digest(old, new):
    assert old in BASE
    assert digests(BASE.replace(old, new)) == digests(BASE)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("LIMIT = 1000.0", "LIMIT = 1001.0", "LIMIT"),
        ("value < top", "value <= top", "count"),
        ("*, top=LIMIT", "top=LIMIT", "count"),
        ("size: int = 3", "size: int = 4", "Box"),
        ("return self.size", "return self.size + 1", "Box"),
        ("np.zeros(self.size)", "np.ones(self.size)", "Box.open"),
        ("    def open", "    @property\n    def open", "Box.open"),
    ],
)
def test_a_change_of_meaning_changes_the_digest_of_what_holds_it(old, new, changed):
    before, after = digests(BASE), digests(BASE.replace(old, new, 1))
    assert {name for name in before if before[name] != after[name]} == {changed}


def references(text, name="f"):
    return dict(
        parse_module("fmri2img.a", PurePosixPath("fmri2img/a.py"), text)
        .definitions[name]
        .references
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return SIZE", {"SIZE": ""}),
        ("SIZE = 3\n    return SIZE", {}),
        ("global SIZE\n    SIZE = 3\n    return SIZE", {"SIZE": ""}),
        ("return [x for x in SIZE]", {"SIZE": ""}),
        ("return [SIZE for SIZE in SIZE]", {"SIZE": ""}),
        ("return [other for SIZE in other]", {"other": ""}),
        ("return (lambda SIZE: SIZE)(other)", {"other": ""}),
        ("import numpy as np\n    return np.linalg.svd", {"np.linalg.svd": "numpy.linalg.svd"}),
        ("from fmri2img.b import g\n    return g.h()", {"g.h": "fmri2img.b.g.h"}),
        (
            "try:\n        pass\n    except ValueError as SIZE:\n        return SIZE",
            {"ValueError": ""},
        ),
        ("for SIZE in x:\n        pass\n    return SIZE", {"x": ""}),
        ("def g():\n        return SIZE\n    return g", {"SIZE": ""}),
        ("with x as SIZE:\n        return SIZE", {"x": ""}),
    ],
)
def test_names_are_looked_up_as_python_does(body, expected):
    assert references(f"def f(argument):\n    {body}\n") == expected


def test_default_values_and_decorators_belong_to_the_scope_around():
    found = references("@keep\ndef f(SIZE=SIZE, *, top: Kind = TOP) -> Other:\n    return SIZE\n")
    assert set(found) == {"keep", "SIZE", "TOP", "Kind", "Other"}


def test_what_only_runs_as_a_script_or_for_type_checkers_does_not_count():
    text = (
        "if TYPE_CHECKING:\n    from x import Y\nif __name__ == '__main__':\n    main()\nwork()\n"
    )
    module = parse_module("fmri2img.a", PurePosixPath("fmri2img/a.py"), text)
    assert module.imports == {"Y": "x.Y"}
    assert list(module.definitions) == [STATEMENTS]
    assert {name for name, _ in module.definitions[STATEMENTS].references} == {"work"}


def test_relative_imports_are_followed():
    module = parse_module(
        "fmri2img.a.b", PurePosixPath("fmri2img/a/b.py"), "from ..c import d\nfrom . import e\n"
    )
    assert module.imports == {"d": "fmri2img.c.d", "e": "fmri2img.a.e"}
    package = parse_module(
        "fmri2img.a", PurePosixPath("fmri2img/a/__init__.py"), "from .b import c\n"
    )
    assert package.imports == {"c": "fmri2img.a.b.c"}


def test_broken_source_is_named_with_its_line():
    with pytest.raises(
        FormatError, match=r"src/fmri2img/a.py, line 2: not valid Python \(.*\); correct it"
    ):
        parse_module("fmri2img.a", PurePosixPath("fmri2img/a.py"), "x = 1\ndef f(:\n")
