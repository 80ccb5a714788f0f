"""Sets of parameter names, numbered."""

from __future__ import annotations

import pytest

from domstat.collect.worker import shapes as module
from domstat.collect.worker.shapes import Shapes
from domstat.model import Value


@pytest.mark.parametrize("names", [[], ["vm.x"], ["vm.x", "a"], ["a"], ["a", "vm.x", "b"]])
def test_a_shape_fits_its_values_however_few(names: list[str]) -> None:
    shapes = Shapes()
    params: dict[str, Value] = {name: i for i, name in enumerate(names)}
    number, values = shapes.number(params, internals=False)
    kept = tuple(name for name in names if name != "vm.x")
    assert values == [params[name] for name in kept]
    assert shapes.take() == ({number: kept}, False)
    assert shapes.number(params, internals=False) == (number, values)


def test_a_shape_is_sent_once() -> None:
    shapes = Shapes()
    number, _ = shapes.number({"a": 1}, internals=False)
    assert shapes.take() == ({number: ("a",)}, False)
    assert shapes.number({"a": 2}, internals=False) == (number, [2])
    assert shapes.take() == ({}, False)


def test_the_order_of_names_is_part_of_a_shape() -> None:
    shapes = Shapes()
    one, first = shapes.number({"a": 1, "b": 2}, internals=False)
    other, second = shapes.number({"b": 2, "a": 1}, internals=False)
    assert one != other
    assert (first, second) == ([1, 2], [2, 1])


def test_whether_internals_are_wanted_may_differ_between_questions() -> None:
    shapes = Shapes()
    params: dict[str, Value] = {"a": 1, "vcpu.0.exits.sum": 2, "b": 3}
    for internals, expected in ((False, [1, 3]), (True, [1, 2, 3]), (False, [1, 3])):
        number, values = shapes.number(params, internals=internals)
        assert values == expected
        assert len(shapes.take()[0].get(number, expected)) == len(expected)


def test_too_many_shapes_begin_anew_with_new_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHAPES_MAX", 3)
    shapes = Shapes()
    numbers = [shapes.number({f"p{i}": 1}, internals=True)[0] for i in range(3)]
    assert not shapes.take()[1]
    numbers.append(shapes.number({"p3": 1}, internals=True)[0])
    new, forgotten = shapes.take()
    assert (new, forgotten) == ({numbers[3]: ("p3",)}, True)
    again, _ = shapes.number({"p0": 1}, internals=True)
    assert again not in numbers
    assert shapes.take() == ({again: ("p0",)}, False)
