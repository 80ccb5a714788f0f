"""Somebody else's distributions with sinks, laid into a folder as pip would: a module, and what it says of itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

GOOD = '''
class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps nothing."""

    path: Annotated[str, Meta(min_length=1, description="Where to.")] = "x"
    often: Annotated[Duration, Meta(description="How often.")] = Duration(5)


class Sink:
    Settings = Settings

    def __init__(self, settings):
        self.settings = settings

    def open(self, context):
        pass

    def write(self, batches):
        pass

    def close(self):
        pass
'''
"""A sink that meets the contract's form."""

HEAD = """
import os
import sys
from typing import Annotated

from msgspec import Meta, Struct

from domstat.settings import Duration, Size
from domstat.sink import Fatal, Reject, Retry
"""


def lay(
    site: Path, sinks: dict[str, str], code: str = "", *, distribution: str = "strange", url: str | None = None
) -> dict[str, str]:
    """Lay a distribution with *sinks* (class by name) and one module into *site*; return the environment to find it.

    *code* comes behind a good sink, ``Sink``.
    """
    module = f"{distribution}_module"
    facts = site / f"{distribution}-1.5.dist-info"
    facts.mkdir(parents=True)
    (site / f"{module}.py").write_text(HEAD + GOOD + code)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
    points = "".join(f"{name} = {module}:{target}\n" for name, target in sinks.items())
    (facts / "entry_points.txt").write_text(f"[domstat.sinks]\n{points}")
    if url is not None:
        (facts / "direct_url.json").write_text(json.dumps({"url": url}))
    return {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])}
