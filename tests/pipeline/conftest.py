import pytest

from pipeline.projects import changed_params, repro, run, small_project


@pytest.fixture(scope="session")
def project(tmp_path_factory, picture_folder):
    """A project with one subject, one session and small settings, run once from nothing."""
    folder = small_project(tmp_path_factory.mktemp("project"), session=21, pictures=str(picture_folder))
    with changed_params(folder) as params:
        params["models"] = ["ridge", "basic_ae"]
        params["train"]["basic_ae"] |= {"hidden_sizes": [64], "epochs": 3}
    repro(folder)
    for command in (("add", "-A"), ("-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "run")):
        run(folder, "git", *command)
    return folder
