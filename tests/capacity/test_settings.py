"""``[capacity]`` of the configuration."""

from __future__ import annotations

import subprocess
import sys

import pytest

from domstat.capacity.settings import Capacity
from domstat.config import ConfigError, parse
from domstat.settings import Duration


def test_a_file_may_have_thresholds_of_its_own_and_all_others_are_the_defaults() -> None:
    found = parse('[capacity]\ncpu_buffer = 0.1\nwindow = "14d"\n').capacity
    assert found.cpu_buffer == 0.1
    assert found.window == Duration(14 * 86_400)
    assert found.memory_buffer == Capacity().memory_buffer


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cpu_buffer = 1.0", "capacity.cpu_buffer: found 1.0"),
        ("peak = 95", "capacity.peak: found 95"),
        ('horizon = "36500d"', "expected no more than"),
        ("cpu_bufer = 0.1", 'did you mean "cpu_buffer"'),
    ],
)
def test_what_makes_no_sense_is_refused(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"[capacity]\n{line}\n")
    assert said in str(refused.value)


def test_neither_the_configuration_nor_the_command_line_loads_numpy() -> None:
    code = "import sys, domstat.config, domstat.cli, domstat.cli.capacity; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
