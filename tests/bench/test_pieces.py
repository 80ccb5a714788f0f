"""The smaller pieces: the profile's clock, collectd's packets, and what the profile times."""

import struct
import time
from pathlib import Path

import msgspec
import pytest

from domstat_bench import replay_worker, stages
from domstat_bench.agent_run import SINKS, write_config
from domstat_bench.peers import count_values


def _spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_a_stage_is_charged_without_the_stages_inside_it(tmp_path: Path) -> None:
    watched = stages.Stages()
    inner = watched.timed(lambda: _spin(0.02), "inner")

    def around() -> None:
        _spin(0.01)
        inner()

    watched.timed(around, "outer")()
    watched.save(tmp_path / "profile", 1)
    saved = msgspec.json.decode((tmp_path / "profile").read_bytes())
    assert 20e6 <= saved["stages"]["inner"] < 28e6
    assert 10e6 <= saved["stages"]["outer"] < 18e6


@pytest.mark.parametrize("timed", [stages.AGENT, stages.WORKER])
def test_what_the_profile_times_is_there(timed: tuple[tuple[str, str], ...]) -> None:
    for function, _ in timed:
        holder, attribute = stages.find(function)
        assert callable(getattr(holder, attribute))


def test_values_are_counted_in_a_packet_of_collectd() -> None:
    def part(kind: int, content: bytes) -> bytes:
        return struct.pack(">HH", kind, 4 + len(content)) + content

    two = struct.pack(">HBBdd", 2, 1, 1, 0.5, 1.5)
    one = struct.pack(">HBd", 1, 1, 0.5)
    assert count_values(part(0, b"host\0") + part(6, two) + part(4, b"virt\0") + part(6, one)) == 3
    with pytest.raises(ValueError, match="shorter"):
        count_values(bytes(4))


def test_the_configuration_is_one_that_domstat_takes(tmp_path: Path) -> None:
    from domstat.config import load

    config = load(write_config(tmp_path, 'qemu:///"quoted"', 3, SINKS))
    assert [sink.name for sink in config.sinks] == list(SINKS)
    assert config.hosts[0].deadline_s(config.hosts[0].blocks[0]) == pytest.approx(2.7)


def test_the_workers_settings_survive_its_command_line() -> None:
    settings = replay_worker.Settings("recording", 5000, "meter")
    assert msgspec.json.decode(replay_worker.command(settings)[-1], type=replay_worker.Settings) == settings
