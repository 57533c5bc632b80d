import pytest

from miniature import clone


@pytest.fixture(scope="session")
def project(pair_template, tmp_path_factory):
    """The finished project with two models, for the tests of this process; each leaves it as it was."""
    return clone(pair_template, tmp_path_factory.mktemp("project") / "project")


@pytest.fixture
def copied(pair_template, tmp_path):
    """The finished project with two models, for one test to change."""
    return clone(pair_template, tmp_path / "project")
