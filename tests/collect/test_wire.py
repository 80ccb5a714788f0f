"""What the agent and its workers say to each other."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.collect import wire
from domstat.model import Stamp

STAMP = Stamp(1, 2, "boot", 3)
GUEST = wire.Guest("u", "n", -1, 7, [1, 0.5, True, "x"])
OCCUPIED = wire.Occupied("u", "n", 33_043)

QUESTIONS: tuple[wire.Question, ...] = (
    wire.Ask(63, 1),
    wire.Ask(
        63,
        1,
        wire.Globs(("web-*",), ("web-9",)),
        internals=True,
        host=True,
        cost=True,
        watch=("a", "b"),
        chunk=64,
        alone=4,
        limit_s=0.5,
        done=("c",),
        spare=True,
    ),
    wire.Describe(("a", "b")),
    wire.Look(),
    wire.Survey(),
    wire.Survey(refresh=True, domains=wire.Globs(("web-*",))),
    wire.Examine(),
)
REPLIES: tuple[wire.Reply, ...] = (
    wire.Answer(STAMP, [GUEST], {7: ("a", "b", "c", "d")}),
    wire.Answer(
        STAMP,
        [],
        forgotten=True,
        more=True,
        host={"host.cpus": 16},
        cost=wire.Cost(1, None, 2),
        occupied=[OCCUPIED],
        spared=True,
        stuck=("u",),
        unasked=3,
        notes=["note"],
    ),
    wire.Descriptions([wire.Description("u", "<domain/>", None), wire.Description("v", None, "gone")]),
    wire.Looked([OCCUPIED], connected=True),
    wire.Looked([], connected=False, can_tell=False),
    wire.Surveyed(
        STAMP,
        [wire.PoolFigures("images", "dir", 2, 3, 1, 2, True, "/images")],
        [wire.Sleeper("u", "n", (5, 1), None, {"vda": (1, None)})],
        ["note"],
    ),
    wire.Examined("QEMU", "qemu:///system", "/run/sock", "7.2.0", "9.0.0", 20, {"block": True, "vm": False}),
    wire.Failure("cannot connect", 38, unreachable=True),
    wire.Happened([], missed=True),
    wire.Happened([wire.Change("lifecycle", "u", "n", 3, (2, 0), "", 4, 5)], boot_id="boot"),
)


def unframed(message: bytes, number: int) -> bytes:
    head = wire.HEADER.size
    assert wire.HEADER.unpack(message[:head]) == (len(message) - head, number)
    return message[head:]


def kinds(messages: tuple[object, ...]) -> list[str]:
    return [f"{type(message).__name__}-{number}" for number, message in enumerate(messages)]


@pytest.mark.parametrize("question", QUESTIONS, ids=kinds(QUESTIONS))
def test_a_question_arrives_as_it_was_asked(question: wire.Question) -> None:
    assert wire.question_decoder.decode(unframed(wire.frame(question, 5), 5)) == question


@pytest.mark.parametrize("reply", REPLIES, ids=kinds(REPLIES))
def test_a_reply_arrives_as_it_was_given(reply: wire.Reply) -> None:
    assert wire.reply_decoder.decode(unframed(wire.frame(reply, 5), 5)) == reply


def test_every_kind_of_question_and_reply_is_among_these() -> None:
    assert {type(question) for question in QUESTIONS} == set(get_args(wire.Question))
    assert {type(reply) for reply in REPLIES} == set(get_args(wire.Reply))


@pytest.mark.parametrize("opened", [wire.Open("qemu:///system"), wire.Open("xen:///", writable=True)])
def test_the_first_message_says_which_hypervisor_and_has_no_number(opened: wire.Open) -> None:
    assert wire.open_decoder.decode(unframed(wire.frame(opened), wire.UNASKED)) == opened


def test_whoever_asks_for_nothing_special_says_nothing_about_it() -> None:
    asked, answered = (
        msgspec.msgpack.decode(unframed(wire.frame(message), wire.UNASKED))
        for message in (wire.Ask(63, 1), wire.Answer(STAMP, []))
    )
    assert set(asked) == {"type", "stats", "flags"}
    assert set(answered) == {"type", "stamp", "guests"}


def test_every_message_that_is_allowed_has_a_length_that_can_be_written() -> None:
    assert wire.HEADER.pack(wire.MESSAGE_BYTES_MAX, 2**32 - 1)


@given(
    st.lists(
        st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.booleans()
        | st.text(st.characters(codec="utf-8"))
    )
)
def test_values_travel_unchanged_and_keep_their_types(values: list[int | float | bool | str]) -> None:
    sent = wire.Answer(STAMP, [wire.Guest("u", "n", 1, 1, values)])
    arrived = wire.reply_decoder.decode(unframed(wire.frame(sent), wire.UNASKED))
    assert isinstance(arrived, wire.Answer)
    assert arrived.guests[0].values == values
    assert list(map(type, arrived.guests[0].values)) == list(map(type, values))


def test_to_choose_everything_is_the_default() -> None:
    assert wire.Globs().everything
    assert not wire.Globs(("web-*",)).everything
    assert not wire.Globs(exclude=("x",)).everything


@pytest.mark.parametrize(
    ("globs", "chosen"),
    [
        (wire.ALL, {"web-1", "web-2", "Web-3", "db"}),
        (wire.Globs(("web-*", "db")), {"web-1", "web-2", "db"}),
        (wire.Globs(("web-*",), ("*-2",)), {"web-1"}),
        (wire.Globs(exclude=("[wW]eb-?",)), {"db"}),
        (wire.Globs(()), set()),
    ],
)
def test_a_name_is_chosen_that_is_included_and_not_excluded(globs: wire.Globs, chosen: set[str]) -> None:
    assert {name for name in ("web-1", "web-2", "Web-3", "db") if globs.choose(name)} == chosen
