"""Holds explanations against themselves: formulas of plain arithmetic are worked out anew from their inputs."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable

import pytest

from domstat.capacity.explained import Figure, steps

_FUNCTIONS = {"min": min, "max": max, "floor": math.floor, "ceil": math.ceil}


def check(figures: Iterable[Figure]) -> int:
    """Work out every formula in figures and in what they are made of; return how many that were."""
    return sum(_is_right(step.figure) for figure in figures for step in steps(figure, "it"))


def _is_right(figure: Figure) -> bool:
    names = {name: of.value for name, of in figure.inputs if of.value is not None}
    if figure.value is None or not figure.formula or not _is_plain(figure.formula, names):
        return False
    worked_out = eval(figure.formula, {"__builtins__": {}}, {**_FUNCTIONS, **names})
    assert worked_out == pytest.approx(figure.value), figure.formula
    return True


def _is_plain(formula: str, names: Iterable[str]) -> bool:
    """Whether a formula is arithmetic over its inputs; others are words."""
    try:
        tree = ast.parse(formula, mode="eval")
    except SyntaxError:
        return False
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return used <= {*names, *_FUNCTIONS} and not any(isinstance(node, ast.Compare) for node in ast.walk(tree))
