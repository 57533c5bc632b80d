"""Every code block of README and docs runs as it is printed, or says why not: ``<!-- not run:
reason -->`` on the line before it.

The miniature has one subject, so ``subj01`` is read as ``subj02``.
"""

import contextlib
import io
import re
import shlex
import shutil

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import REPOSITORY
from fmri2img.pipeline.checks import check_project
from miniature import SUBJECT, clone, inside, keep_images
from pipeline.projects import run

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "rois/*.md", "benchmarks/*.md", "models/demo-vae/*.md")
    for path in REPOSITORY.glob(pattern)
    if path.name != "CHANGELOG.md"
)
_BLOCK = re.compile(
    r"(?:^<!-- (not run: .+?|output) -->\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL
)
# Commands that are printed with an error as their answer.
FAIL_ON_PURPOSE = ("fmri2img promote",)


def blocks(page):
    """(number, language, content, why it is not run) of every block of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        (number, found[2], found[3], found[1] or "")
        for number, found in enumerate(_BLOCK.finditer(text))
    ]


BLOCKS = [(page, *block) for page in PAGES for block in blocks(page)]


def of(*languages):
    chosen = [
        block for block in BLOCKS if block[2] in languages and not block[4].startswith("not run")
    ]
    return pytest.mark.parametrize(
        ("page", "content"),
        [
            pytest.param(page, content, id=f"{page.relative_to(REPOSITORY)}-{number}")
            for page, number, _, content, _ in chosen
        ],
    )


@pytest.fixture(scope="module")
def documented(template, tmp_path_factory):
    """The finished project, with what the pages take for granted: reconstructions from
    elsewhere, and a remote.
    """
    folder = clone(template, tmp_path_factory.mktemp("docs") / "project")
    with (
        h5py.File(folder / f"data/reconstructions/{SUBJECT}/ridge.h5") as found,
        h5py.File(folder / f"data/truth/{SUBJECT}.h5") as truth,
    ):
        pictures = dict(zip(found["image_ids"][()].tolist(), found["images"][()], strict=True))
        (folder / "my-reconstructions").mkdir()
        for image_id in truth["image_ids"][()].tolist():
            Image.fromarray(pictures[image_id]).save(folder / f"my-reconstructions/{image_id}.png")
    run(
        folder,
        "dvc",
        "remote",
        "add",
        "--local",
        "--force",
        "--default",
        "lab",
        str(folder.with_name("remote")),
    )
    return folder


def here(text):
    return text.replace("subj01", SUBJECT)


def commands(content):
    """The commands of a console block, without remarks."""
    lines = [line.removeprefix("$ ") for line in content.splitlines() if line.startswith("$ ")]
    return [shlex.split(here(line), comments=True) for line in lines]


@of("console")
def test_commands_run_as_they_are_printed(page, content, documented):
    found = commands(content)
    assert found
    for words in found:
        result = run(documented, *words, check=False)
        expected = 1 if " ".join(words[:2]) in FAIL_ON_PURPOSE else 0
        assert result.returncode == expected, (
            f"{' '.join(words)}\n{result.stdout[-500:]}{result.stderr[-1000:]}"
        )
        assert "Traceback" not in result.stderr
        if words[:2] == ["fmri2img", "export"] and words[-1].endswith(".npz"):
            with np.load(documented / words[-1]) as exported:
                few = np.unique(exported["image_ids_0based"])[:3]
            # What follows decodes them, and all of them take minutes.
            keep_images(documented / words[-1], few)


@of("python")
def test_python_runs_as_it_is_printed(page, content, documented):
    with inside(documented):
        exec(compile(here(content), str(page), "exec"), {})  # noqa: S102 (our own pages)


def merged(values, changes):
    for key, value in changes.items():
        values[key] = merged(values[key], value) if isinstance(value, dict) else value
    return values


@of("yaml")
def test_params_are_valid_as_they_are_printed(page, content, tmp_path):
    shutil.copytree(REPOSITORY / "models/demo-vae", tmp_path / "models/demo-vae")
    params = merged(
        yaml.safe_load((REPOSITORY / "params.yaml").read_text()), yaml.safe_load(content)
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with inside(tmp_path):
        check_project()


def test_every_block_is_run_or_says_why_not():
    for page, number, language, content, why in BLOCKS:
        where = f"{page.relative_to(REPOSITORY)}, block {number + 1}"
        assert language in ("console", "python", "yaml", "text"), where
        assert language != "console" or why or commands(content), where
        assert why != "not run: ", where
    n_not_run = sum(why.startswith("not run") for *_, why in BLOCKS)
    assert 0 < n_not_run < len(BLOCKS)


def test_pages_name_verbs_and_options_that_exist(monkeypatch):
    from fmri2img.cli.main import main

    monkeypatch.setenv("COLUMNS", "1000")
    helps = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"(?:^\$ |`)fmri2img ([a-z-]+)([^`\n#]*)", text, re.MULTILINE)
        for verb, rest in named:
            if verb not in helps:
                out = io.StringIO()
                with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
                    main([verb, "--help"])
                helps[verb] = out.getvalue()
            assert helps[verb], f"{page}: there is no verb {verb}"
            options = re.findall(r"--[a-z-]+", rest)
            assert not [one for one in options if one not in helps[verb]], f"{page}: {verb}{rest}"
