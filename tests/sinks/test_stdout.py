"""Standard output: into pipes, files and terminals, as real ones as a test can have."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from domstat import jsonlines, settings
from domstat.model import Batch, Kind, Record
from domstat.sink import Fatal, Sink, SinkContext
from domstat_sinks.stdout import StdoutSettings, StdoutSink, _Screen
from records import (
    agent_record,
    batch,
    event_record,
    gap_record,
    guest_record,
    host_record,
    one_of_each,
    pool_record,
    sleeper_record,
)

HOSTILE = ['"', "a,b=c d", "two\nlines", "\x1b[31mred", "\x9b2J\x7f", "\u202egnp\u2028", "n" * 5000, "😀", "\\"]


def context(left_out: list[tuple[Record, str]] | None = None) -> SinkContext:
    found = [] if left_out is None else left_out
    return SinkContext("stdout", Path(), None, lambda record, reason: found.append((record, reason)))


def write(form: str, *batches: Batch, left_out: list[tuple[Record, str]] | None = None) -> None:
    sink = StdoutSink(settings.decode({"format": form}, StdoutSettings))
    sink.open(context(left_out))
    sink.write(batches)
    sink.close()
    sink.close()


# What a process of its own does: opens the sink named by its argument, writes, and says on stderr how that ended.
PROGRAM = """
import os, sys, threading
from pathlib import Path
from domstat.sink import SinkContext, SinkError
from domstat_sinks.stdout import StdoutSettings, StdoutSink
from records import batch, guest_record

def carry():
    sink = StdoutSink(StdoutSettings(sys.argv[1]))
    try:
        sink.open(SinkContext("stdout", Path(), None, print))
        for tick in range(3):
            sink.write([batch(*(guest_record(f"guest-{tick}", uuid=str(i)) for i in range(int(sys.argv[2])))) ])
            sink.write([batch(guest_record("lonely"), collect="slow")])
            print("log line", tick, file=sys.stderr)
    except SinkError as error:
        print(type(error).__name__, error, file=sys.stderr)
    finally:
        sink.close()

thread = threading.Thread(target=carry)  # as the agent's couriers do
thread.start()
thread.join()
"""


def start(form: str, guests: int, **more: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    arguments = [sys.executable, "-W", "error", "-c", PROGRAM, form, str(guests)]
    return subprocess.Popen(arguments, env=environment, text=True, **more)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("guests", [1, 100])  # less than a buffer, and more
@pytest.mark.parametrize("form", ["auto", "json", "influx", "table"])
def test_a_closed_pipe_ends_quietly(form: str, guests: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(form, guests, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, said = process.communicate(timeout=180)
    assert said == "Finished nobody reads standard output any more\n"
    assert process.returncode == 0


def test_a_full_disk_is_tried_again() -> None:
    with Path("/dev/full").open("wb") as full:
        process = start("json", 1, stdout=full, stderr=subprocess.PIPE)
        _, said = process.communicate(timeout=180)
    assert said.startswith("Retry standard output: No space left on device\n")


def test_no_standard_output_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(Fatal):
        StdoutSink(StdoutSettings()).open(context())


def run_on_terminal(form: str, guests: int, columns: int, rows: int, stderr: int | None = None) -> str:
    """Return all that a terminal of that size was sent."""
    terminal, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = start(form, guests, stdout=side, stderr=side if stderr is None else stderr)
    os.close(side)
    sent = b""
    try:
        while part := os.read(terminal, 65536):
            sent += part
    except OSError:  # how a terminal says that nobody is there any more
        pass
    os.close(terminal)
    assert process.wait(180) == 0
    return sent.decode().replace("\r\n", "\n")


def test_on_a_terminal_the_table_stays_in_place_and_log_lines_come_out_above_it() -> None:
    sent = run_on_terminal("auto", 2, 100, 30)
    assert "\x1b[2K\x1b[1A" in sent  # lines are taken back
    assert "\x1b[?1049h" not in sent  # but the screen is not
    assert all(sent.count(f"log line {tick}") == 1 for tick in range(3))
    last = sent.rpartition("\x1b[2K")[2]
    assert last.count("guest-2") == 2
    assert last.count("lonely") == 1  # the other stream's latest batch stays too
    assert last.endswith("\n\x1b[?25h")  # the cursor is back, below the table


def test_a_table_taller_than_the_terminal_is_left_whole_at_the_end() -> None:
    sent = run_on_terminal("table", 40, 100, 12)
    assert sent[sent.rindex("kvm1 · default") :].count("guest-2") == 40


def test_on_a_terminal_a_tick_in_parts_is_whole_and_what_happened_stands_below_it() -> None:
    parts = [batch(host_record(), guest_record("a", uuid="a")), batch(guest_record("b", uuid="b"), agent_record())]
    events = [batch(event_record(), collect="events"), batch(gap_record())]
    screen = _Screen(terminal := io.StringIO())
    screen.show([*parts, *events])
    screen.show(parts[:1])
    screen.close()
    words = [line.split()[0] for line in terminal.getvalue().splitlines()]
    time = "[0-9]{2}:[0-9]{2}:[0-9]{2}"
    assert re.fullmatch(f"kvm1 host guest a b {time} {time}", " ".join(words))


def test_a_log_that_goes_into_a_file_is_kept_out_of_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        sent = run_on_terminal("auto", 1, 100, 30, stderr=file.fileno())
    assert "log line" not in sent
    assert log.read_text() == "log line 0\nlog line 1\nlog line 2\n"


def test_in_a_pipe_auto_is_json_lines() -> None:
    process = start("auto", 2, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, _ = process.communicate(timeout=180)
    names = [json.loads(line)["domain"]["name"] for line in output.splitlines()]
    assert names == ["guest-0", "guest-0", "lonely", "guest-1", "guest-1", "lonely", "guest-2", "guest-2", "lonely"]


@pytest.mark.parametrize("kind", Kind)
def test_json_lines_of_every_kind_can_be_read_back(kind: Kind, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    record = one_of_each()[kind]
    write("json", batch(record))
    (line,) = capsysbinary.readouterr().out.splitlines()
    assert jsonlines.decode(line) == record


def test_json_lines_come_in_the_order_of_the_records(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    records = (guest_record(), guest_record("new", uuid="b", first=True), sleeper_record(), pool_record())
    write("json", batch(*records), batch(host_record()))
    lines = capsysbinary.readouterr().out.splitlines()
    assert [jsonlines.decode(line) for line in lines] == [*records, host_record()]


@pytest.mark.parametrize("name", HOSTILE)
def test_json_lines_carry_hostile_names_and_nothing_acts_on_a_terminal(
    name: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    record = guest_record(name, extra={f"block.wr.bytes[{name}]": 2**64 - 1})
    write("json", batch(record))
    output = capsysbinary.readouterr().out
    assert jsonlines.decode(output) == record
    assert output.decode().removesuffix("\n").isprintable()


@pytest.mark.parametrize("form", ["table", "influx"])
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_a_hostile_name_acts_on_a_terminal(
    name: str, form: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    write(form, batch(guest_record(name), event_record(name, name, device=name)))
    assert all(line.isprintable() for line in capsysbinary.readouterr().out.decode().split("\n"))


def test_a_table_in_a_pipe_is_plain_and_one_per_batch(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    write("table", batch(guest_record(), time_ms=1000), batch(guest_record(), time_ms=2000))
    output = capsysbinary.readouterr().out.decode()
    assert output.count("kvm1 · default") == 2
    assert output.count("web-1") == 2
    assert "\x1b" not in output
    assert all(line == line.rstrip() for line in output.splitlines())


def test_a_table_in_a_pipe_is_as_wide_as_columns_says(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    write("table", batch(guest_record("n" * 100)))
    assert max(map(len, capsysbinary.readouterr().out.decode().splitlines())) <= 50


def test_a_table_can_be_written_where_a_dash_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    write("table", batch(guest_record("数", first=True)))
    assert b"kvm1" in raw.getvalue()


def test_influx_reports_what_it_leaves_out(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    record = guest_record(extra={"balloon.rss": 2**64 - 1})
    left_out: list[tuple[Record, str]] = []
    write("influx", batch(record), left_out=left_out)
    assert [(which, reason.partition(":")[0]) for which, reason in left_out] == [(record, "balloon.rss")]
    assert capsysbinary.readouterr().out.startswith(b"domstat_state,domain=web-1,host=kvm1,uuid=")


def test_one_write_is_flushed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []

    class Counting(io.BytesIO):
        def flush(self) -> None:
            flushes.append(len(self.getvalue()))

    stdout = io.TextIOWrapper(Counting(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    sink = StdoutSink(StdoutSettings("json"))
    sink.open(context())
    sink.write([batch(), batch(), batch()])
    assert len(flushes) == 1
    assert flushes[0] > 0


def test_the_sink_meets_the_contract() -> None:
    sink: Sink = StdoutSink(StdoutSettings())
    assert isinstance(sink, Sink)
    sink.close()  # also when it was never opened


@pytest.mark.parametrize("raw", [{"format": "tabel"}, {"from": "json"}])
def test_unknown_settings_are_refused(raw: dict[str, str]) -> None:
    with pytest.raises(settings.SettingsError, match="did you mean"):
        settings.decode(raw, StdoutSettings)


@pytest.mark.parametrize(("form", "heavy"), [("json", "rich"), ("influx", "rich"), ("json", "domstat_sinks.lineplan")])
def test_who_wants_no_table_does_not_pay_for_one(form: str, heavy: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}\nprint({heavy!r} in sys.modules, file=sys.stderr)", form, "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=True,
        text=True,
    )
    assert process.stderr.splitlines()[-1] == "False"
