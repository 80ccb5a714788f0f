"""``domstat capacity``, as a planner meets it: tables, JSON, CSV, explanations, refusals, names that mean harm."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.test_cli import EXIT_TROUBLE, EXIT_USAGE, domstat
from cli.test_history import write
from domstat.model import Batch, Record, Stamp
from records import GIB_IN_KIB, TIME_MS, guest_record, host_record, pool_record, sleeper_record

HOUR_MS = 3_600_000
START_MS = TIME_MS // (24 * HOUR_MS) * 24 * HOUR_MS  # 2026-11-22T00:00:00Z
DAYS = 20
CPUS = 16
SECOND_NS = 10**9
HOSTILE = "web\x1b[2J\u202e;=cmd()"
OTHER_UUID = "6a2f41a3-c54c-4a5e-9b5b-3e0f0c9d8a22"

QUESTIONS: dict[str, tuple[str, ...]] = {
    "summary": (),
    "runway": (),
    "remaining": (),
    "whatif": ("--add", "2:web-1"),
    "forecast": ("--field", "cpu.cores"),
}

Ask = Callable[..., "subprocess.CompletedProcess[str]"]


def until(hours: int) -> str:
    """Name the moment so many hours after the history begins, as the command line takes it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp((START_MS + hours * HOUR_MS) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ticks(hours: int, name: str = "web-1") -> Iterator[Batch]:
    """Make a tick an hour of a host that is ever busier, two guests, one that is off, and a pool that fills."""
    used_ns = 0
    for hour in range(hours + 1):
        time_ms = START_MS + hour * HOUR_MS
        used_ns += int(3600 * SECOND_NS * (4 + 4 * hour / (24 * DAYS)))  # cores
        yield _batch(time_ms, "default", _busy_host(time_ms, hour, used_ns), *_guests(time_ms, hour, name))
        full = int((200 + hour) * 2**30)
        yield _batch(
            time_ms,
            "survey",
            pool_record(
                time_ms=time_ms, collect="survey", extra={"pool.capacity": 1000 * 2**30, "pool.allocation": full}
            ),
            sleeper_record(time_ms=time_ms, collect="survey"),
        )


def _batch(time_ms: int, collect: str, *records: Record) -> Batch:
    stamp = Stamp(time_ms, time_ms * 1_000_000, "boot", 0)
    return Batch(host="kvm1", collect=collect, stamp=stamp, records=records)


def _busy_host(time_ms: int, hour: int, used_ns: int) -> Record:
    spent = {"host.cpu.user": used_ns, "host.cpu.idle": hour * 3600 * SECOND_NS * CPUS - used_ns}
    memory = {"host.memory.total": 64 * GIB_IN_KIB, "host.memory.available": 24 * GIB_IN_KIB}
    return host_record(time_ms=time_ms, params={"host.cpus": CPUS, **memory, **spent})


def _guests(time_ms: int, hour: int, name: str) -> Iterator[Record]:
    counted = {"cpu.time": hour * 3600 * SECOND_NS, "balloon.last-update": time_ms // 1000}
    yield guest_record(name, time_ms=time_ms, extra=counted)
    yield guest_record("db-1", uuid=OTHER_UUID, id=4, time_ms=time_ms, extra=counted)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep twenty days of hourly ticks in a history."""
    folder = tmp_path_factory.mktemp("filled")
    return _history(folder, *ticks(24 * DAYS))


def _history(folder: Path, *batches: Batch) -> Path:
    config = folder / "domstat.toml"
    config.write_text(f'[agent]\nstate_dir = "{folder}"\n[[sinks]]\ntype = "sqlite"\nraw = "forever"\n')
    write(folder, *batches)
    return config


@pytest.fixture
def ask(filled: Path) -> Ask:
    return lambda *arguments: domstat("capacity", *arguments, "--until", until(24 * DAYS), "--config", str(filled))


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_summary_says_how_each_host_stands(ask: Ask) -> None:
    found = {line["resource"]: line for line in lines_of(ask("summary"))}
    cpu, memory, storage = found["cpu"], found["memory"], found["storage"]
    assert (cpu["host"], cpu["total"], cpu["usable"], cpu["allocated"]) == ("kvm1", 16, pytest.approx(12.8), 4)
    assert cpu["demand_now"] == pytest.approx(8, rel=0.02)
    assert (memory["total"], memory["demand_peak"]) == (64 * 2**30, pytest.approx(40 * 2**30))
    assert storage["demand_now"] == pytest.approx((200 + 24 * DAYS) * 2**30, rel=0.01)
    assert (cpu["running"], cpu["off"]) == (2, 1)


def test_the_runway_says_when_the_pool_is_full(ask: Ask) -> None:
    (pool,) = (line for line in lines_of(ask("runway")) if line["resource"] == "storage")
    days = (800 - 200 - 24 * DAYS) / 24
    assert pool["name"] == "images"
    assert pool["days_expected"] == pytest.approx(days, abs=1.5)
    assert pool["within_30_days"] == 1
    assert pool["status"] == "short"


def test_settings_can_be_given_per_call(ask: Ask) -> None:
    (pool,) = (line for line in lines_of(ask("runway", "--set", "storage_buffer=0")) if line["resource"] == "storage")
    assert pool["usable"] == 1000 * 2**30


def test_guests_remaining_are_counted_for_a_size(ask: Ask) -> None:
    (kvm1,) = lines_of(ask("remaining", "--vcpus", "4", "--memory", "8GiB", "--disk", "40GiB"))
    assert kvm1["guests_by_allocation"] == (64 - 8) // 8  # of memory; two guests have 4 GiB each
    assert kvm1["room_limited_by"] == "memory"


def test_what_if_shows_before_and_after(ask: Ask) -> None:
    found = {line["resource"]: line for line in lines_of(ask("whatif", "--add", "2:web-1", "--resize", "db-1:8vcpu"))}
    cpu = found["cpu"]
    assert (cpu["allocated_before"], cpu["allocated_after"]) == (4, 14)
    assert cpu["demand_peak_after"] == pytest.approx(float(str(cpu["demand_peak_before"])) + 2, rel=0.01)


def test_a_forecast_has_a_value_a_step(ask: Ask) -> None:
    found = lines_of(ask("forecast", "--field", "cpu.cores", "--guest", "web-1", "--ahead", "5d"))
    assert [line["name"] for line in found] == ["web-1"] * 5
    assert found[0]["middle"] == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize("explain", [(), ("--explain",)])
def test_every_question_has_an_answer_in_every_form(
    ask: Ask, question: str, form: str, explain: tuple[str, ...]
) -> None:
    done = ask(question, *QUESTIONS[question], "--format", form, *explain)
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout.lower().split()
    assert "Traceback" not in done.stderr
    if form == "csv":
        assert len(list(csv.reader(done.stdout.splitlines()))) > 1
    if form == "json":
        for line in done.stdout.splitlines():
            json.loads(line, parse_constant=pytest.fail)


def test_an_explanation_has_inputs_formula_and_result(ask: Ask) -> None:
    table = ask("summary", "--format", "table", "--explain").stdout
    assert "usable = 12.8 cores = total * (1 - buffer)" in table
    assert "total = 16 threads (host.cpus)" in table
    assert "buffer = 20 % (the setting cpu_buffer)" in table
    (cpu, *_) = lines_of(ask("summary", "--explain"))
    said = cpu["explain"]["usable"]  # type: ignore[index]
    assert math.isclose(said["value"], said["inputs"]["total"]["value"] * (1 - said["inputs"]["buffer"]["value"]))


@pytest.mark.parametrize("hours", [1, 30])
@pytest.mark.parametrize("question", QUESTIONS)
def test_little_history_is_an_answer_or_a_sentence(tmp_path: Path, question: str, hours: int) -> None:
    config = _history(tmp_path, *ticks(hours))
    done = domstat("capacity", question, *QUESTIONS[question], "--until", until(hours), "--config", str(config))
    assert done.returncode == 0, done.stderr
    if question in {"runway", "forecast"}:
        assert "not enough history" in done.stdout + done.stderr


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_history_is_a_sentence(tmp_path: Path, question: str) -> None:
    done = domstat("capacity", question, *QUESTIONS[question], "--config", str(_history(tmp_path)))
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    assert "the history has nothing yet" in done.stderr


def test_a_host_that_is_not_there_is_a_sentence(ask: Ask) -> None:
    done = ask("summary", "--host", "kvm9")
    assert done.returncode == EXIT_TROUBLE
    assert "no such host" in done.stderr


def test_names_that_mean_harm_stay_text(tmp_path: Path) -> None:
    config = _history(tmp_path, *ticks(30, HOSTILE))
    for arguments in (
        ("remaining", "--like", HOSTILE),
        ("whatif", "--add", f"1:{HOSTILE}"),
        ("forecast", "-f", "cpu.cores"),
    ):
        done = domstat(
            "capacity", *arguments, "--format", "table", "--explain", "--until", until(30), "--config", str(config)
        )
        assert done.returncode == 0, done.stderr
        assert "web" in done.stdout + done.stderr
        assert not {"\x1b", "\u202e"} & {*done.stdout, *done.stderr}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("summary", "--set", "cpu_bufer=0.1"), 'did you mean "cpu_buffer"'),
        (("summary", "--set", "cpu_buffer"), "expected a setting and its value"),
        (("summary", "--set", "window=soon"), "expected a duration"),
        (("summary", "--since", "2030-01-01T00:00:00Z"), "expected a time before --until"),
        (("summary", "--until", "yesterday"), '--until: found "yesterday"'),
        (("remaining", "--like", "nobody"), '--like: found "nobody"'),
        (("remaining", "--like", "web-1", "--vcpus", "2"), "either a guest or sizes"),
        (("remaining", "--memory", "lots"), '--memory: found "lots"'),
        (("whatif",), "nothing is changed"),
        (("whatif", "--remove", "nobody"), "there is no guest nobody"),
        (("whatif", "--lose-host", "kvm1"), "the only host"),
        (("whatif", "--resize", "web-1"), '--resize: found "web-1"'),
        (("forecast", "--field", "state.state"), "a counter, a gauge or a derived value"),
        (("forecast", "--field", "no.such"), "a field that there is something of"),
        (("forecast", "--field", "cpu.cores", "--step", "1s"), "a minute or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(filled: Path, arguments: tuple[str, ...], said: str) -> None:
    done = domstat("capacity", *arguments, "--config", str(filled))
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert said in done.stderr
