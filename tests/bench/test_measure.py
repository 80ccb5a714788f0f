"""What is measured is what the process burnt."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from domstat_bench import measure
from domstat_bench.report import Table, figures, jsonable, verdict


def _burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_cpu_time_is_that_of_all_threads_and_of_those_that_ended() -> None:
    before = measure.cpu_ns(os.getpid())
    thread = threading.Thread(target=_burn, args=(0.05,))
    thread.start()
    thread.join()
    assert measure.cpu_ns(os.getpid()) - before >= 50_000_000


def test_the_cpu_time_of_another_process_is_read() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        deadline = time.monotonic() + 10
        while measure.cpu_ns(child.pid) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert measure.cpu_ns(child.pid) > 0
        assert measure.pss_kib(child.pid) > 0
        assert child.pid in measure.children(os.getpid())


def test_children_are_all_found_while_threads_come_and_go() -> None:
    """A child is that of the thread that started it and, when that ends, of another."""
    ends = threading.Event()

    def come_and_go() -> None:
        while not ends.is_set():
            thread = threading.Thread(target=_burn, args=(0.0001,))
            thread.start()
            thread.join()

    sleeping = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        subprocess.Popen(sleeping, stdin=subprocess.PIPE) as child,
        ThreadPoolExecutor(max_workers=2) as pool,
    ):
        try:
            for _ in range(2):
                pool.submit(come_and_go)
            assert all(child.pid in measure.children(os.getpid()) for _ in range(500))
        finally:
            ends.set()


def test_a_process_that_is_gone_has_nothing_below_it_but_to_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with pytest.raises(FileNotFoundError):
        measure.children(gone.pid)
    own = measure.children
    monkeypatch.setattr(measure, "children", lambda pid: [gone.pid] if pid == os.getpid() else own(pid))
    assert measure.descendants(os.getpid()) == [gone.pid]


def test_a_sample_needs_a_value() -> None:
    with pytest.raises(ValueError, match="nothing"):
        measure.sampled([])
    assert measure.sampled([3.0, 1.0, 9.0]).median == 3
    assert measure.sampled([3.0, 1.0, 9.0]).min == 1


def test_a_table_is_aligned_and_figures_keep_three_digits() -> None:
    text = str(Table("t", ["what", "ms"], [["a", figures(1.2345)], ["longer", figures(1234.5)]]))
    assert [line[-5:] for line in text.splitlines()[-2:]] == [" 1.23", " 1234"]
    assert verdict(2.5, 2.5) == "reached"
    assert verdict(2.6, 2.5) == "MISSED"


def test_figures_become_json() -> None:
    assert jsonable({"a": [measure.sampled([1.0, 2.0])]}) == {"a": [{"min": 1.0, "median": 1.5, "values": [1.0, 2.0]}]}
