import pytest

from fmri2img.project.error_lines import tell_errors
from fmri2img.project.exceptions import ConfigError


def line_of(capsys, error, *, code=1):
    """What a command prints whose work raises an error."""
    with pytest.raises(SystemExit) as exit_, tell_errors(debug=False):
        raise error
    assert exit_.value.code == code
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    return printed.strip()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_expected_error_is_its_line(capsys, folder):
    assert line_of(capsys, ConfigError("params.yaml: x: got 1")) == "error: params.yaml: x: got 1"
    assert not list(folder.iterdir())


def test_an_unexpected_error_is_one_line_and_its_traceback_is_kept(capsys, folder):
    line = line_of(capsys, KeyError("names\nof regions"))
    assert line.startswith(
        "error: unexpected KeyError: 'names\\nof regions'; finished work is kept"
    )
    (log,) = (folder / "logs/errors").iterdir()
    assert f"report it with logs/errors/{log.name}, which holds the traceback" in line
    assert "Traceback (most recent call last)" in log.read_text()
    assert "KeyError" in log.read_text()


def test_where_nothing_can_be_written_the_line_says_how_to_see_the_traceback(capsys, folder):
    (folder / "logs").write_text("a file")
    line = line_of(capsys, ZeroDivisionError())
    assert line.startswith("error: unexpected ZeroDivisionError; ")
    assert "fmri2img-errors" in line  # the machine's folder for temporary files


def test_pytorch_without_memory_names_the_knob(capsys):
    message = "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"
    assert "lower machine.n_jobs or the stage's batch_size" in line_of(
        capsys, RuntimeError(message)
    )


def test_a_gpu_without_memory_names_the_knob(capsys):
    message = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 80 GiB"
    assert "the GPU has no memory left; lower the stage's batch_size" in line_of(
        capsys, RuntimeError(message)
    )


def test_stopped_is_said(capsys):
    assert line_of(capsys, KeyboardInterrupt(), code=130).startswith("stopped; finished work")


def test_debug_lets_the_error_through():
    with pytest.raises(KeyError), tell_errors(debug=True):
        raise KeyError("x")
