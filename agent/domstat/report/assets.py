"""What the page is dressed in and moved by: its style, its script, and the script of plotly, all out of packages.

The only module here that reads files; they are the packages' own.
"""

from __future__ import annotations

from importlib.resources import files

from msgspec import Struct


class Assets(Struct, frozen=True):
    """The texts that go into a page as they are."""

    style: str
    script: str
    plotly: str


def load() -> Assets:
    """Read them. Raises ImportError where plotly is not installed."""
    from plotly.offline import get_plotlyjs

    folder = files("domstat.report")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return Assets(style, script, get_plotlyjs())
