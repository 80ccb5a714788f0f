"""Which type a column has, and that values fit into it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import ValueType
from domstat.model import Value
from domstat_sinks.sqlite.heads.layout import Shapes, shared_column, type_of, value_of
from records import guest_record


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("cpu.time", 1, ValueType.U64),
        ("cpu.time", -1, ValueType.I64),
        ("cpu.time", 1.5, ValueType.F64),
        ("cpu.time", "1", ValueType.TEXT),
        ("state.state", 1, ValueType.I64),
        ("vcpu.halted", True, ValueType.BOOL),
        ("cpu.energy.monitor.pkg.core_energy", 1, ValueType.F64),
        ("a.stranger", 1, ValueType.I64),
        ("a.stranger", 2**64 - 1, ValueType.U64),
        ("a.stranger", True, ValueType.BOOL),
        ("a.stranger", 0.5, ValueType.F64),
    ],
)
def test_the_catalogue_says_the_type_unless_the_value_contradicts(
    field: str, value: Value, expected: ValueType
) -> None:
    assert type_of(field, value) is expected


@given(
    st.one_of(
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False),
        st.booleans(),
    )
)
def test_any_value_comes_back_from_its_word(value: Value) -> None:
    record = guest_record(params={"x.stranger": value}, first=True)
    shape = Shapes().of(record)
    word = int.from_bytes(shape.packer.pack(*record.params.values()), "little")
    back = value_of(shape.columns[0].type, word, {})
    assert back == value
    assert type(back) is type(value)


def test_guests_alike_share_a_shape() -> None:
    shapes = Shapes()
    assert shapes.of(guest_record("a")) is shapes.of(guest_record("b"))


def test_a_column_is_made_once_unless_no_other_guest_can_have_it() -> None:
    of_a_disk = [shared_column("block.wr.bytes", "vda", ValueType.U64) for _ in range(2)]
    assert of_a_disk[0] is of_a_disk[1]
    of_a_nic = [shared_column("net.rx.bytes", "52:54:00:00:00:01", ValueType.U64) for _ in range(2)]
    assert of_a_nic[0] == of_a_nic[1]
    assert of_a_nic[0] is not of_a_nic[1], "kept for whoever asks next, it would outlive its guest"
