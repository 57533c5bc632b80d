import threading

from filelock import FileLock

from fmri2img.pipeline.repro import _one_at_a_time


def test_a_second_call_waits_and_says_for_whom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    holder = tmp_path / ".dvc/tmp/fmri2img-repro.txt"
    holder.write_text("process 7, since 14:02")
    had_its_turn = threading.Event()

    def call():
        with _one_at_a_time():
            assert holder.read_text().startswith("process ")
            had_its_turn.set()

    with FileLock(tmp_path / ".dvc/tmp/fmri2img-repro.lock"):
        second = threading.Thread(target=call)
        second.start()
        assert not had_its_turn.wait(0.3)
    second.join(timeout=10)
    assert had_its_turn.is_set()
    assert not holder.exists()
    assert capsys.readouterr().err == (
        "this folder's stages are being run by process 7, since 14:02; waiting for it to end\n"
    )
