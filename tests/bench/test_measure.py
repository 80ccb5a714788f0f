"""What is measured is what the process burnt."""

import os
import subprocess
import sys
import threading
import time

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
