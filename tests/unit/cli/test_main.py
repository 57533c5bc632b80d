"""The command itself: its verbs, and what it loads for one of them."""

import shlex

import pytest

from commands import without_code
from fmri2img import __version__
from fmri2img.cli.main import GROUPS, main, make_parser
from fmri2img.cli.usage import EXAMPLES


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_the_verbs_that_it_is_loaded_for(group):
    assert tuple(make_parser([group])[1]) == GROUPS[group]


def test_every_verb_is_in_the_help():
    _, verbs = make_parser()
    assert verbs == [verb for group in GROUPS.values() for verb in group]


def test_a_verb_loads_its_own_group_alone(monkeypatch):
    loaded = []

    class Nothing:
        @staticmethod
        def add_verbs(verbs):
            verbs.add_parser("disk").set_defaults(run=lambda _: None)

    def load(name):
        loaded.append(name)
        return Nothing

    monkeypatch.setattr("fmri2img.cli.main.import_module", load)
    main(["disk"])
    assert loaded == ["fmri2img.cli.pipeline_verbs"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["lst"], "fmri2img: there is no verb 'lst' (did you mean list?); run: fmri2img --help"),
        (["qqq"], "fmri2img: there is no verb 'qqq'; run: fmri2img --help"),
        (
            ["decode", "x.npz", "--model", "m", "--to", "y", "--autoencodr", "z"],
            "fmri2img decode: there is no option --autoencodr (did you mean --autoencoder?); run: "
            "fmri2img decode --help",
        ),
        (
            ["--dry-run", "remove", "subj02"],
            "fmri2img remove: --dry-run stands before the verb; put it behind it; run: fmri2img "
            "remove --help",
        ),
        (
            ["--foo", "check"],
            "fmri2img check: there is no option --foo; run: fmri2img check --help",
        ),
        (
            ["metrics", "subj01", "subj02"],
            "fmri2img metrics: there is no place for subj02; run: fmri2img metrics --help",
        ),
        (
            ["voxels"],
            "fmri2img voxels: the following arguments are required: file; run: fmri2img voxels "
            "--help",
        ),
        (
            ["repro", "--jobs", "two"],
            "fmri2img repro: argument --jobs: two: expected a whole number, 1 or more; run: "
            "fmri2img repro --help",
        ),
    ],
)
def test_what_is_typed_wrongly_is_told_in_one_line(arguments, line, capsys):
    with pytest.raises(SystemExit, match="1"):
        main(arguments)
    assert without_code(capsys.readouterr().err) == f"error: {line}\n"


def test_the_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"fmri2img {__version__}\n"


def test_without_a_verb_the_help_is_shown(capsys):
    with pytest.raises(SystemExit, match="0"):
        main([])
    assert "lineage" in capsys.readouterr().out


@pytest.mark.parametrize("verb", EXAMPLES)
def test_examples_are_understood(verb):
    parser, verbs = make_parser()
    assert set(verbs) == EXAMPLES.keys()
    for example in EXAMPLES[verb]:
        _, *words = shlex.split(example.partition(" > ")[0])
        assert parser.parse_args(words).verb == verb


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_verbs_and_options(shell, capsys):
    main(["completion", shell])
    script = capsys.readouterr().out
    assert all(verb in script for verb in EXAMPLES)
    assert "--autoencoder" in script
