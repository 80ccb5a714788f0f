"""Whether sinks take what they are given."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from doctor.seen import SINK, only
from domstat.deliver.courier import State
from domstat.doctor.finding import Finding, Verdict
from domstat.doctor.scene import TargetSeen
from domstat.doctor.sinks import advice, sinks


def sink(**changes: Any) -> Finding:
    return only(sinks(["history"], [replace(SINK, **changes)], [], {}))


def test_a_sink_that_takes_what_it_is_given_is_well() -> None:
    found = sink()
    assert (found.verdict, found.about) == (Verdict.OK, "history")
    assert found.found.endswith("the newest write took 12ms")
    assert sink(write_s=0.0).found.endswith("took no time")


@pytest.mark.parametrize("state", [State.RETRYING, State.OPENING, State.STOPPED, State.BROKEN])
def test_a_sink_that_fails_is_trouble_with_its_error(state: State) -> None:
    found = sink(state=state, last_error="401 unauthorized access")
    assert found.verdict is Verdict.TROUBLE
    assert found.found == f"it is {state}: 401 unauthorized access"
    assert "token" in found.fix


def test_one_that_has_stopped_without_a_word_is_trouble_and_one_that_is_opening_is_not_yet() -> None:
    assert sink(state=State.STOPPED).verdict is Verdict.TROUBLE
    assert sink(state=State.OPENING, busy_s=3.0).verdict is Verdict.UNKNOWN


def test_what_a_sink_says_itself_is_a_warning_and_so_is_being_far_behind() -> None:
    assert sink(unwell="nearly full").verdict is Verdict.WARNING
    behind = sink(lag_s=61.0)
    assert (behind.verdict, "1m 01s behind" in behind.found) == (Verdict.WARNING, True)
    assert sink(lag_s=59.0).verdict is Verdict.OK


def test_an_error_that_is_over_is_no_trouble() -> None:
    assert sink(last_error="connection refused", last_error_at=0.0).verdict is Verdict.OK


def test_a_sink_that_has_written_nothing_yet_is_not_judged() -> None:
    assert sink(written=0).verdict is Verdict.UNKNOWN


def test_a_sink_that_the_running_agent_does_not_have_wants_a_reload() -> None:
    found = list(sinks(["history", "new"], [SINK], [], {}))[1]
    assert (found.verdict, found.about, found.fix) == (Verdict.WARNING, "new", "systemctl reload domstat")


def test_a_sink_that_is_not_configured_any_more_is_named_while_records_are_kept_for_it() -> None:
    found = next(iter(sinks(["history"], [SINK], [], {"my old": 7})))
    assert (found.verdict, found.about) == (Verdict.WARNING, "my old")
    assert found.fix == "domstat sinks forget 'my old'; or configure it again"


def test_without_an_agent_a_server_that_cannot_be_connected_to_is_trouble() -> None:
    targets = [TargetSeen("influx", "db:8086", "Connection refused"), TargetSeen("influx", "db2:8086")]
    found = only(sinks(["influx"], None, targets, {}))
    assert (found.verdict, found.found) == (Verdict.TROUBLE, "db:8086 cannot be connected to: Connection refused")
    assert "server runs" in found.fix


def test_without_an_agent_that_a_server_is_there_is_not_that_it_lets_us_in() -> None:
    found = list(sinks(["influx", "history"], None, [TargetSeen("influx", "db:8086")], {}))
    assert [each.verdict for each in found] == [Verdict.UNKNOWN, Verdict.UNKNOWN]
    assert found[0].found.startswith("db:8086 can be connected to; whether")
    assert found[1].found.startswith("whether")


def test_without_any_sink_nothing_is_kept() -> None:
    assert only(sinks([], [], [], {})).verdict is Verdict.TROUBLE


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("the server answered 403 Forbidden", "token"),
        ("certificate verify failed: self-signed", "ca_file"),
        ("[Errno 111] Connection refused", "server runs"),
        ("Name or service not known", "names the server"),
        ('404: bucket "x" not found', "exists"),
        ("Permission denied", "ReadWritePaths="),
        ("database or disk is full", "room"),
        ("another process writes it", "fuser"),
        ("something new", "journalctl -u domstat"),
    ],
)
def test_an_error_says_what_to_do(error: str, words: str) -> None:
    assert words in advice(error)
