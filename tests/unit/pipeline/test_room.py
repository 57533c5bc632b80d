import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import ONE_PROCESS
from fmri2img.pipeline import room
from fmri2img.pipeline.room import Need, Room, gpus, need_of
from fmri2img.pipeline.run_display import Display, clock
from fmri2img.pipeline.stage_times import StageTimes


@pytest.fixture
def machine(monkeypatch):
    """Four cores, 10 GB of memory, no GPU."""
    monkeypatch.setattr(room, "free_memory_mib", lambda: 10 * 1024.0)
    monkeypatch.setattr(room, "gpus", list)
    return ONE_PROCESS


def test_stages_start_while_there_is_memory_and_one_alone_always_may(machine, capsys):
    place = Room(4, machine)
    large, small = Need(7 * 1024, False, False), Need(1024, False, False)
    assert place.holds(Need(1e6, False, False))
    place.take("a", large)
    assert not place.holds(large)
    assert not place.holds(large)
    assert place.holds(small)
    told = capsys.readouterr().err
    assert (
        told
        == "only 10.0 GB of memory are free: running fewer stages at a time than the cores allow\n"
    )
    place.give_back("a")
    assert place.holds(large)


def test_no_more_stages_than_places(machine):
    place = Room(1, machine)
    place.take("a", Need(1, False, False))
    assert not place.holds(Need(1, False, False))


def test_one_stage_a_gpu(machine, monkeypatch):
    monkeypatch.setattr(room, "gpus", lambda: ["0", "1"])
    place, on_gpu = Room(4, machine), Need(1, True, False)
    assert place.take("a", on_gpu) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert place.take("b", on_gpu) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert not place.holds(on_gpu)
    assert place.holds(Need(1, False, False))
    place.give_back("a")
    assert place.take("c", on_gpu) == {"CUDA_VISIBLE_DEVICES": "0"}


def test_a_training_on_several_gpus_has_all_of_them(machine, monkeypatch):
    monkeypatch.setattr(room, "gpus", lambda: ["0", "1"])
    place = Room(4, machine.model_copy(update={"launch": ["--multi_gpu"]}))
    assert place.take("a", Need(1, True, True)) == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert not place.holds(Need(1, True, False))
    place.give_back("a")
    place.take("b", Need(1, True, False))
    assert not place.holds(Need(1, True, True))


def test_gpus_are_those_that_cuda_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert gpus() == ["2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(room.shutil, "which", lambda _: None)
    assert gpus() == []


def test_what_a_stage_needs_is_what_it_had_or_a_guess_from_its_inputs(tmp_path):
    (tmp_path / "x").write_bytes(b"0" * 2**20)
    stage = SimpleNamespace(deps=[SimpleNamespace(fs_path=str(tmp_path / "x"))])
    times = StageTimes(tmp_path / "times.json")
    assert need_of("train@a-ridge", stage, times) == Need(903, True, True)
    times.note("train@a-ridge", 3.0, 1000.0)
    assert need_of("train@a-ridge", stage, times).mib == pytest.approx(1200)
    assert not need_of("split_examples@a", stage, times).uses_gpu


UPSTREAM = {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b"}}


def test_the_longest_chain_comes_first():
    assert StageTimes(Path("none")).by_urgency(UPSTREAM) == ["a", "b", "c", "d"]
    slow = StageTimes(Path("none"), {"a": 1, "b": 1, "c": 60, "d": 1})
    assert slow.by_urgency(UPSTREAM) == ["a", "c", "b", "d"]


def test_the_time_left_follows_from_earlier_runs():
    times = StageTimes(Path("none"), {"train@a-x": 10.0, "train@b-x": 20.0, "split@a": 2.0})
    assert times.expected("train@c-x") == 15
    assert times.expected("compare") is None
    # 10 - 4 s of the first, 15 and (nothing is known) the typical 10, two at a time.
    assert times.left({"train@a-x": 4.0}, ["train@c-x", "compare"], 2) == (6 + 15 + 10) / 2
    assert times.left({"train@b-x": 0.0}, [], 4) == 20  # no faster than its slowest


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": 1}', None])
def test_lost_or_damaged_times_are_none(tmp_path, content):
    path = tmp_path / "times.json"
    if content is not None:
        path.write_text(content)
    times = StageTimes.open(path)
    assert times.seconds == {}
    times.note("a", 1.234, 0)
    times.save()
    assert json.loads(path.read_text()) == {"peak_mib": {}, "seconds": {"a": 1.23}}


def test_each_stage_has_a_line_with_what_it_said(capsys):
    display = Display(12, StageTimes(Path("none")))
    display.ended("compare", 3, 2.4, ["", "a remark"])
    assert capsys.readouterr().err == "[ 3/12] 0:00  compare: 2 s\n    a remark\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3661, "1:01:01")]
)
def test_times_are_read_at_a_glance(seconds, text):
    assert clock(seconds) == text
