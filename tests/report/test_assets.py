"""What the page is dressed in and moved by."""

from __future__ import annotations

import re
import sys

import pytest

from domstat.report.assets import load


def test_there_is_nothing_in_them_that_ends_their_element_or_that_a_reader_would_change() -> None:
    assets = load()
    for text in (assets.plotly, assets.script):
        assert not re.search(r"</script|<!--|\r|\x00", text, re.IGNORECASE)
    assert "</style" not in assets.style.lower()


def test_style_and_script_are_the_pages_own_and_load_nothing() -> None:
    assets = load()
    assert not re.search(r"url\(|@import|https?:", assets.style)
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(|eval\(|innerHTML", assets.script)


def test_every_colour_that_is_used_is_there_in_light_in_dark_and_on_paper() -> None:
    style = load().style
    light, dark, paper = (set(re.findall(r"(--[a-z-]+):", part)) - {"--tone"} for part in _palettes(style))
    assert light == dark == paper
    assert set(re.findall(r"var\((--[a-z-]+)\)", style)) - {"--tone"} <= light


def _palettes(style: str) -> list[str]:
    return re.findall(r":root \{(.*?)\}", style, re.DOTALL)


def test_without_plotly_that_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError):
        load()
