"""Series as JSON that SQL unrolls: every value as the head rows' view has it, only of the span that is read."""

from __future__ import annotations

import math

import pytest

from domstat.history import Span
from domstat.model import Value
from domstat_sinks.sqlite.packed.unrolled import Unrolled

from .conftest import History
from .sealings import at_ms, guest, levels, make_small, query, tick, with_params, write_each

VALUES: dict[str, tuple[list[Value], list[str]]] = {
    "odd.signed": ([5, -5, 2**63 - 1, -(2**63), 0], ["5", "-5", "9223372036854775807", "-9223372036854775808", "0"]),
    "cpu.time": (
        [1, 2, 2**63 - 1, 2**63, 2**64 - 1],
        ["1", "2", "9223372036854775807", f'"{2**63}"', f'"{2**64 - 1}"'],
    ),
    "odd.real": ([0.1, -0.0, math.inf, -math.inf, math.nan], ["0.1", "-0.0", "9e999", "-9e999", "null"]),
    "odd.flag": ([True, False, True, True, False], ["1", "0", "1", "1", "0"]),
    "odd.text": (['"', "%r", "\\", "é\n", ""], ['"\\""', '"%r"', '"\\\\"', '"é\\n"', '""']),
}


@pytest.fixture
def sealed(history: History, monkeypatch: pytest.MonkeyPatch) -> History:
    make_small(monkeypatch)
    every = [{field: values[number] for field, (values, _) in VALUES.items()} for number in range(5)]
    write_each(history, (tick(number, with_params(guest(), its)) for number, its in enumerate([*every, every[0]])))
    assert levels(history) == [0]
    return history


def ask(sealed: History, span: Span, function: str, field: str) -> str:
    read = Unrolled(sealed.reader(), span)
    (number,) = query(sealed, "SELECT id FROM field WHERE name = ?", field)[0]
    assert read.devices(1, 0, number) == "[null]"
    return str(getattr(read, function)(1, 0, number, 0))


@pytest.mark.parametrize("field", VALUES)
def test_a_value_is_written_so_that_sqlite_reads_it_exactly(sealed: History, field: str) -> None:
    pairs = [f'"{at_ms(number)}":{text}' for number, text in enumerate(VALUES[field][1])]
    assert ask(sealed, Span(), "samples", field) == "{" + ",".join(pairs) + "}"


def test_only_what_is_of_the_span_is_written(sealed: History) -> None:
    span = Span(at_ms(1), at_ms(3))
    assert ask(sealed, span, "samples", "odd.signed") == f'{{"{at_ms(1)}":-5,"{at_ms(2)}":{2**63 - 1}}}'
    assert ask(sealed, Span(at_ms(9), at_ms(10)), "samples", "odd.signed") == "{}"


def test_where_there_is_no_rate_there_is_null(sealed: History) -> None:
    first, second = ask(sealed, Span(), "rates", "cpu.time").strip("{}").split(",")[:2]
    assert first == f'"{at_ms(0)}":null'
    assert second == f'"{at_ms(1)}":1e-10'
