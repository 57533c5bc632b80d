import ctypes
import sys
from types import SimpleNamespace

import pytest

from fmri2img.project.allocator import keep_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_the_c_library_takes_the_settings(monkeypatch):
    library, answers = ctypes.CDLL(None), []
    if not hasattr(library, "mallopt"):
        pytest.skip("another C library than glibc")
    mallopt = library.mallopt
    watched = SimpleNamespace(mallopt=lambda *setting: answers.append(mallopt(*setting)))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: watched)
    keep_memory()
    assert answers == [1, 1, 1]  # glibc's word for success


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_other_c_libraries_are_left_alone(system, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    keep_memory()
