"""``domstat capacity reclaim``, ``rightsize``, ``contention`` and ``top``, of a history that the sink itself wrote."""

from __future__ import annotations

import csv
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.test_capacity import HOSTILE, START_MS, lines_of, until
from cli.test_cli import EXIT_TROUBLE, EXIT_USAGE, domstat
from cli.test_history import write
from domstat.capacity.gather import Figures, Selection
from domstat.cli.capacity import QUESTIONS as QUESTIONS_ASKED
from domstat.cli.capacity import WITHOUT_DISKS
from domstat.cli.capacity.asking import Asked
from domstat.model import Batch, Record, Stamp, Value
from domstat_sinks.sqlite.sink import SqliteSettings, SqliteSink
from records import GIB_IN_KIB, guest_record, host_record, sleeper_record

STEP_MS = 300_000
STEP_NS = STEP_MS * 1_000_000
DAYS = 4
PER_DAY = 288
AFTERNOONS = tuple((DAYS - day) * PER_DAY + 13 * 12 for day in (2, 1))
"""Steps in which an hour of crowding begins."""

QUESTIONS: dict[str, tuple[str, ...]] = {
    "reclaim": ("--set", "off_after=2d", "--set", "idle_after=2d"),
    "rightsize": ("--all",),
    "contention": (),
    "top": ("--by", "cpu.cores"),
}

Ask = Callable[..., "subprocess.CompletedProcess[str]"]


class _Guest:
    """A guest that uses so many cores, and waits, and more while it is crowded."""

    def __init__(self, name: str, vcpus: int, cores: float, crowded: float, *, waits: float = 0.004) -> None:
        self.name, self.vcpus = name, vcpus
        self._cores, self._crowded, self._waits = cores, crowded, waits
        self._used_ns, self._waited_ns = 0, 0

    def record(self, time_ms: int, *, is_crowded: bool) -> Record:
        self._used_ns += int(STEP_NS * (self._crowded if is_crowded else self._cores))
        self._waited_ns += int(STEP_NS * (self._waits if is_crowded else 0.004))
        works = self._cores > 0.05
        moved = self._used_ns // 1000 if works else time_ms - START_MS
        params: dict[str, Value] = {
            "state.state": 1,
            "cpu.time": self._used_ns,
            "vcpu.current": self.vcpus,
            "vcpu.maximum": self.vcpus,
            **{f"vcpu.delay[{number}]": self._waited_ns for number in range(self.vcpus)},
            "balloon.current": 4 * GIB_IN_KIB,
            "balloon.maximum": 4 * GIB_IN_KIB,
            "balloon.rss": 3 * GIB_IN_KIB,
            "balloon.available": 4 * GIB_IN_KIB,
            "balloon.usable": 3 * GIB_IN_KIB,
            "balloon.last-update": time_ms // 1000 if works else 0,
            "block.rd.bytes[vda]": moved,
            "block.wr.bytes[vda]": moved,
            "block.capacity[vda]": 40 << 30,
            "block.allocation[vda]": 10 << 30,
            "net.rx.bytes[52:54:00:aa:bb:01]": moved,
            "net.tx.bytes[52:54:00:aa:bb:01]": moved,
        }
        named = str(uuid.uuid5(uuid.NAMESPACE_DNS, self.name))
        return guest_record(self.name, uuid=named, time_ms=time_ms, params=params, first=True)


def ticks(steps: int, idle: str = "idle-1") -> Iterator[Batch]:
    """Make ticks of a host with a guest that does nothing, one that takes, one that suffers, and one that is off."""
    guests = (
        _Guest(idle, 2, 0.004, 0.004),
        _Guest("bully-1", 8, 0.5, 7.0),
        _Guest("victim-1", 2, 1.9, 1.5, waits=0.3),
    )
    crowded = {step for at in AFTERNOONS for step in range(at, at + 12)}
    for step in range(steps + 1):
        time_ms = START_MS + step * STEP_MS
        records = [guest.record(time_ms, is_crowded=step in crowded) for guest in guests]
        memory: dict[str, Value] = {"host.cpus": 16, "host.memory.total": 64 * GIB_IN_KIB}
        yield _batch(time_ms, "default", host_record(time_ms=time_ms, params=memory), *records)
        yield _batch(time_ms, "survey", sleeper_record(time_ms=time_ms, collect="survey"))


def _batch(time_ms: int, collect: str, *records: Record) -> Batch:
    stamp = Stamp(time_ms, time_ms * 1_000_000, "boot", 0)
    return Batch(host="kvm1", collect=collect, stamp=stamp, records=records)


def kept(folder: Path, *batches: Batch) -> Path:
    config = folder / "domstat.toml"
    config.write_text(f'[agent]\nstate_dir = "{folder}"\n[[sinks]]\ntype = "sqlite"\nraw = "forever"\n')
    write(folder, *batches)
    return config


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep four days of ticks in a history."""
    return kept(tmp_path_factory.mktemp("guests"), *ticks(DAYS * PER_DAY))


@pytest.fixture
def ask(filled: Path) -> Ask:
    return lambda *arguments: domstat("capacity", *arguments, "--until", until(24 * DAYS), "--config", str(filled))


def test_the_idle_guest_and_the_one_that_is_off_can_be_reclaimed(ask: Ask) -> None:
    asked = ("reclaim", *QUESTIONS["reclaim"])
    off, idle = lines_of(ask(*asked))
    assert (idle["guest"], idle["class"], idle["idle_share"]) == ("idle-1", "idle", 1)
    assert (idle["memory"], idle["disk"]) == (3 << 30, 10 << 30)
    assert (off["class"], off["memory"]) == ("off", 0)
    assert off["off_days"] == pytest.approx(DAYS, abs=0.1)
    assert "from 2 of them come back" in ask(*asked, "--format", "table").stdout


def test_sizes_are_recommended_with_their_evidence(ask: Ask) -> None:
    found = {(line["guest"], line["resource"]): line for line in lines_of(ask("rightsize"))}
    victim, bully = found["victim-1", "cpu"], found["bully-1", "cpu"]
    assert (victim["verdict"], victim["now"], victim["recommended"]) == ("undersized", 2, 4)
    assert victim["demand"] == pytest.approx(1.9)
    assert (bully["verdict"], bully["recommended"]) == ("oversized", 1)
    assert bully["peak"] == pytest.approx(7)
    assert bully["note"] == "its highest would not have fitted"
    assert found["victim-1", "memory"]["recommended"] == 2 << 30
    assert ("idle-1", "memory") not in found, "its balloon driver never spoke"


def test_guests_that_cannot_be_judged_are_told_where_that_is_wanted(ask: Ask) -> None:
    found = {(line["guest"], line["resource"]): line for line in lines_of(ask("rightsize", "--all"))}
    idle = found["idle-1", "memory"]
    assert (idle["verdict"], idle["recommended"]) == ("stale figures", None)


def test_the_bully_and_its_victim_are_named(ask: Ask) -> None:
    bully, victim = lines_of(ask("contention"))
    assert (bully["guest"], bully["what"], bully["victims"], bully["times"]) == ("bully-1", "bully", "victim-1", 2)
    assert (victim["guest"], victim["what"], victim["resource"]) == ("victim-1", "waits more", "cpu")
    assert victim["typical"] == pytest.approx(0.3, rel=0.05)
    said = "bully-1 may be why victim-1 waited for cpu, 2 times"
    assert said in ask("contention", "--format", "table").stdout


def test_the_busiest_come_first(ask: Ask) -> None:
    names = [line["name"] for line in lines_of(ask("top", "--by", "cpu.cores"))]
    assert names == ["victim-1", "bully-1", "idle-1"]
    (most,) = lines_of(ask("top", "--by", "cpu.cores", "--how", "max", "-n", "1"))
    assert most["name"] == "bully-1"


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize("explain", [(), ("--explain",)])
def test_every_question_has_an_answer_in_every_form(
    ask: Ask, question: str, form: str, explain: tuple[str, ...]
) -> None:
    done = ask(question, *QUESTIONS[question], "--format", form, *explain)
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout.lower().split()
    if form == "csv":
        assert len(list(csv.reader(done.stdout.splitlines()))) > 2
    if form == "json":
        for line in done.stdout.splitlines():
            json.loads(line, parse_constant=pytest.fail)


OPTIONS: dict[str, dict[str, str]] = {"top": {"by": "cpu.cores"}, "forecast": {"field": "cpu.cores"}}


@pytest.mark.parametrize("name", sorted(question.__name__ for question in WITHOUT_DISKS))
def test_a_question_that_does_not_look_at_disks_answers_as_if_it_did(filled: Path, name: str) -> None:
    (question,) = (question for question in QUESTIONS_ASKED if question.__name__ == name)
    with SqliteSink.history(SqliteSettings(), filled.parent) as history:
        every, none = (
            Figures(history, START_MS + 24 * DAYS * 3_600_000, selection=Selection(disks=disks))
            for disks in (True, False)
        )
        assert any(guest.disks for guest in every.fleet.guests)
        assert not any(guest.disks for guest in none.fleet.guests)
        answers = [question(Asked(figures), **OPTIONS.get(name, {})) for figures in (every, none)]
    assert answers[0].lines
    assert answers[0] == answers[1]


@pytest.mark.parametrize("steps", [1, 12 * 30])
@pytest.mark.parametrize("question", QUESTIONS)
def test_little_history_is_an_answer_or_a_sentence(tmp_path: Path, question: str, steps: int) -> None:
    config = kept(tmp_path, *ticks(steps, HOSTILE))
    asked = (*QUESTIONS[question], "--format", "table", "--explain", "--config", str(config))
    done = domstat("capacity", question, *asked, "--until", until(max(1, steps // 12)))
    assert done.returncode == 0, done.stderr
    assert not {"\x1b", "\u202e"} & {*done.stdout, *done.stderr}
    if question == "reclaim":
        assert "not enough history" in done.stdout


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_history_is_a_sentence(tmp_path: Path, question: str) -> None:
    done = domstat("capacity", question, "--config", str(kept(tmp_path)))
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    assert "the history has nothing yet" in done.stderr


def test_a_field_there_is_nothing_of_is_a_sentence(ask: Ask) -> None:
    done = ask("top", "--by", "cpu.temperature")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing is known of it in this span" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--how", "often"), '--how: found "often", expected mean, max'),
        (("--by", "host.cpus", "--devices"), "no devices"),
        (("--by", "cpu.cores", "--how", "increase"), "no counter"),
        (("-n", "0"), "-n"),
    ],
)
def test_what_cannot_be_meant_is_refused(ask: Ask, arguments: tuple[str, ...], said: str) -> None:
    done = ask("top", *arguments)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert said in done.stderr
