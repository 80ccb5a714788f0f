"""What the agent and its workers say to each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.collect import wire
from domstat.model import Stamp

STAMP = Stamp(1, 2, "boot", 3)


def unframed(message: bytes) -> bytes:
    (length,) = wire.LENGTH.unpack(message[:4])
    assert len(message) == 4 + length
    return message[4:]


@pytest.mark.parametrize(
    "question", [wire.Ask(63, 1, wire.Globs(("web-*",), ("web-9",)), internals=True), wire.Describe(("a", "b"))]
)
def test_a_question_arrives_as_it_was_asked(question: wire.Question) -> None:
    assert wire.question_decoder.decode(unframed(wire.frame(question))) == question


@pytest.mark.parametrize(
    "reply",
    [
        wire.Answer(
            STAMP, [wire.Guest("u", "n", -1, 7, [1, 0.5, True, "x"])], {7: ("a", "b", "c", "d")}, [], False, []
        ),
        wire.Answer(STAMP, [], {}, [wire.Change("lifecycle", "u", "n", (2, 0), "")], True, ["note"]),
        wire.Descriptions([wire.Description("u", "<domain/>", None), wire.Description("v", None, "gone")]),
        wire.Failure("cannot connect", 38, unreachable=True),
    ],
)
def test_a_reply_arrives_as_it_was_given(reply: wire.Reply) -> None:
    assert wire.reply_decoder.decode(unframed(wire.frame(reply))) == reply


def test_the_first_message_names_the_hypervisor() -> None:
    assert wire.open_decoder.decode(unframed(wire.frame(wire.Open("qemu:///system")))).uri == "qemu:///system"


@given(
    st.lists(
        st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.booleans()
        | st.text(st.characters(codec="utf-8"))
    )
)
def test_values_travel_unchanged_and_keep_their_types(values: list[int | float | bool | str]) -> None:
    sent = wire.Answer(STAMP, [wire.Guest("u", "n", 1, 1, values)], {}, [], False, [])
    arrived = wire.reply_decoder.decode(unframed(wire.frame(sent)))
    assert isinstance(arrived, wire.Answer)
    assert arrived.guests[0].values == values
    assert list(map(type, arrived.guests[0].values)) == list(map(type, values))


def test_to_choose_everything_is_the_default() -> None:
    assert wire.Globs().everything
    assert not wire.Globs(("web-*",)).everything
    assert not wire.Globs(exclude=("x",)).everything
