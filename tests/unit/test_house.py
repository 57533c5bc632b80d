"""How the code is kept: short lines, files and functions, names that are found."""

import ast
import re
import statistics
from collections import Counter

import grimp
import pytest

from conftest import REPOSITORY
from fmri2img.evaluation.metrics.catalogue import all_metrics

SOURCE = REPOSITORY / "src"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")
STAGES = sorted((SOURCE / "stages").glob("[a-z]*.py"))


def functions():
    """(path, definition, its lines of code: no docstring, no comment, no blank line)."""
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                start = node.lineno
                if ast.get_docstring(node) is not None:
                    start = node.body[0].end_lineno + 1
                body = [line.strip() for line in lines[start - 1 : node.end_lineno]]
                yield path, node, [line for line in body if line and not line.startswith("#")]


def test_no_line_is_over_100_columns():
    folders = ("src", "tests", "benchmarks", "scripts")
    files = (path for folder in folders for path in (REPOSITORY / folder).rglob("*"))
    paths = [path for path in files if path.suffix in (".py", ".jinja")]
    long = [
        f"{path.relative_to(REPOSITORY)}:{number}"
        for path in paths
        if "store" not in path.relative_to(REPOSITORY).parts  # as version 0.1 left it
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > 100
    ]
    assert not long


def test_no_module_is_over_400_lines():
    long = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: length for name, length in long.items() if length > 400}


def test_no_two_modules_have_one_name():
    names = Counter(path.name for path in MODULES)
    assert not [name for name, number in names.items() if number > 1]


def longest_chain(imports):
    """Most modules, or rooms, of which each imports the next, by name; fails on a circle."""
    lengths = {}

    def length(name, above):
        assert name not in above, f"a circle: {' -> '.join([*above, name])}"
        if name not in lengths:
            below = [length(other, [*above, name]) for other in imports[name]]
            lengths[name] = 1 + max(below, default=0)
        return lengths[name]

    return max(length(name, []) for name in imports)


def room_of(module):
    """A folder of the package; the stages are one room."""
    parts = module.split(".")
    return parts[0] if parts[0] == "stages" or len(parts) == 1 else parts[1]


def test_the_house_is_flat():
    """Imports within functions count, too."""
    graph = grimp.build_graph("fmri2img", "stages", cache_dir=None)
    modules = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert sum(map(len, modules.values())) > 900
    assert longest_chain(modules) <= 8
    rooms = {room_of(name): set() for name in modules if name != "fmri2img"}
    for name, others in modules.items():
        if name != "fmri2img":
            rooms[room_of(name)] |= {room_of(other) for other in others if other != "fmri2img"}
    assert longest_chain({name: others - {name} for name, others in rooms.items()}) <= 6


def imports_of(path):
    """(line, module) of everything that a file imports when it runs, within functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def test_mlflow_is_imported_after_its_telemetry_is_switched_off():
    """MLflow starts its telemetry when it is imported; `fmri2img.tracking` switches that off."""
    elsewhere = []
    rooms = ("src", "scripts", "benchmarks")
    for path in (path for room in rooms for path in (REPOSITORY / room).rglob("*.py")):
        found = sorted(imports_of(path))
        starts = [line for line, name in found if name.partition(".")[0] == "mlflow"]
        first = [line for line, name in found if name.startswith("fmri2img.tracking")]
        if starts and "tracking" not in path.parts and not (first and first[0] < starts[0]):
            elsewhere.append(path.name)
    assert not elsewhere


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_a_stage_script_is_short_and_typed(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert "Any" not in used


def test_functions_are_short():
    sizes = sorted(len(code) for _, _, code in functions())
    assert len(sizes) > 900
    assert statistics.median(sizes) <= 8
    assert sizes[int(0.95 * len(sizes))] <= 30
    assert sizes[-1] <= 50


def signatures(node, owner=""):
    """(name, whether arrays are in the signature, docstring) of what is public below a node, and
    of each array that a public class holds.
    """
    for item in node.body:
        if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
            yield item.name, False, ast.get_docstring(item) or ""
            yield from signatures(item, item.name)
        elif isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            arguments = [*item.args.args, *item.args.kwonlyargs]
            annotations = [argument.annotation for argument in arguments] + [item.returns]
            texts = [ast.unparse(annotation) for annotation in annotations if annotation]
            takes = any(re.search(r"\b(ndarray|Tensor)\b", text) for text in texts)
            yield f"{owner}.{item.name}", takes, ast.get_docstring(item) or ""


def test_docstrings_say_shapes():
    """Of every public function that takes or gives arrays; files of other libraries' interfaces
    apart.
    """
    public = [
        (f"{path.relative_to(SOURCE)}: {name}", takes, doc)
        for path in MODULES
        for name, takes, doc in signatures(ast.parse(path.read_text(encoding="utf-8")))
        if not name.startswith((".visit_", "NameCollector.visit_"))
    ]
    with_arrays = [(name, doc) for name, takes, doc in public if takes]
    silent = [name for name, doc in with_arrays if not re.search(r"shape|\(\w+, ?", doc)]
    assert len(with_arrays) > 250
    assert len(silent) <= 0.05 * len(with_arrays), silent


def test_functions_take_up_to_eight_parameters():
    many = []
    for path, node, _ in functions():
        names = [item.arg for item in (*node.args.posonlyargs, *node.args.args)]
        names = [name for name in names if name not in ("self", "cls")]
        if len(names) + len(node.args.kwonlyargs) > 8:
            many.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert not many


def test_variables_are_nouns_of_the_field():
    """Words that say nothing of what they hold."""
    empty = {"what", "how", "found", "made", "seen", "own"}
    used = [
        f"{path.relative_to(SOURCE)}: {node.name}: {word}"
        for path, node, _ in functions()
        for word in sorted(
            empty & {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
            | empty & {item.arg for item in ast.walk(node) if isinstance(item, ast.arg)}
        )
    ]
    used += [
        f"{path.relative_to(SOURCE)}: {item.target.id}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        if item.target.id in empty
    ]
    bound = re.compile(r"{%-? *(?:set|for) +(\w+)(?: *, *(\w+))?")
    used += [
        f"{path.relative_to(SOURCE)}: {names}"
        for path in SOURCE.rglob("*.jinja")
        for names in bound.findall(path.read_text(encoding="utf-8"))
        if empty & set(names)
    ]
    assert not used


def spelled_strings(path):
    """Words of all strings of a module but docstrings, or of a whole template."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jinja":
        return set(re.findall(r"\w+", text))
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    }
    return {
        word
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        for word in re.findall(r"\w+", node.value)
    }


def test_a_metric_is_spelled_where_it_is_declared_and_nowhere_else():
    names = set(all_metrics())
    home = SOURCE / "fmri2img/evaluation/metrics"
    paths = [path for path in SOURCE.rglob("*") if path.suffix in (".py", ".jinja")]
    spelled = {
        path.relative_to(SOURCE).as_posix(): words
        for path in paths
        if home not in path.parents and (words := names & spelled_strings(path))
    }
    assert not spelled


def test_the_table_of_metrics_in_the_documentation_is_that_of_the_declarations():
    page = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")
    for name, metric in all_metrics().items():
        assert f"| `{name}` | {metric.title} |" in page
    assert page.count("\n| `") - page.count("\n| `version`") >= len(all_metrics())


# Below the voxel file, any dataset will do.
BELOW = (
    *("containers", "evaluation", "features", "generation", "models", "pipeline", "sharing"),
    *("tracking", "training", "viz"),
)
# Each with its reason.
KNOWS_NSD = {
    "sharing/export.py": "forms in which two repositories keep NSD's data",
    "viz/published.py": "published scores on NSD",
}
# Pixels, stored units a percent, images.
NSD_NUMBERS = {repr(425), repr(300.0), repr(73_000)}
NSD_WORDS = re.compile(r"\bnsd\b|73k|subj0\d|\bNSD\b|NSD's")


def spelled_constants(path):
    """NSD's words and numbers in the code of a module: docstrings may name it as an example."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return NSD_WORDS.findall(text)
    tree = ast.parse(text)
    numbers = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float)
    ]
    imported = [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("fmri2img.datasets.nsd")
    ]
    words = [word for string in spelled_strings(path) for word in NSD_WORDS.findall(string)]
    return [*words, *imported, *(number for number in numbers if repr(number) in NSD_NUMBERS)]


def test_nothing_below_the_voxel_file_knows_nsd():
    room = SOURCE / "fmri2img"
    paths = [
        path
        for name in BELOW
        for path in (room / name).rglob("*")
        if path.suffix in (".py", ".jinja")
    ]
    assert len(paths) > 100
    spelled = {
        path.relative_to(room).as_posix(): constants
        for path in paths
        if path.relative_to(room).as_posix() not in KNOWS_NSD
        and (constants := spelled_constants(path))
    }
    assert not spelled


def calls_in_source():
    """Yield every call in the package, with the name of its file."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.name, node


def test_hdf5_files_are_read_without_locks():
    """On many shared mounts there are none, and another process may write beside."""
    calls = [
        f"{name}:{node.lineno}"
        for name, node in calls_in_source()
        if ast.unparse(node.func) == "h5py.File"
        and ast.unparse(node.args[1]) == "'r'"
        and "locking" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not calls


def test_every_stage_ends_its_errors_in_one_line_and_checks_the_parameters():
    for path in (SOURCE.parent / "stages").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert path.name == "__init__.py" or re.search(r"^    run_stage\(", text, re.M), path.name


def test_texts_are_read_and_written_as_utf_8():
    """A locale must not decide; ruff sees this only where it knows that something is a path."""
    calls = [
        f"{name}:{node.lineno}"
        for name, node in calls_in_source()
        if isinstance(node.func, ast.Attribute)
        and (
            (node.func.attr == "read_text" and not node.args)
            or (node.func.attr == "write_text" and len(node.args) == 1)
        )
        and not {"encoding", "remedy"} & {keyword.arg for keyword in node.keywords}
    ]
    assert not calls
