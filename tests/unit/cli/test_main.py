"""The command itself: its verbs, and what it loads for one of them."""

import pytest

from fmri2img.cli.main import GROUPS, main, make_parser


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


def test_an_unknown_verb_is_told_all_of_them(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["lst"])
    assert "'list'" in capsys.readouterr().err
