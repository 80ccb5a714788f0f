"""``./dev screenshots``: pictures of the capacity report for docs/, of a made-up fleet, at two widths.

The same fleet each time, so that a picture changes only where the page does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from domstat.capacity.gather import Figures
from domstat.capacity.settings import Capacity
from domstat.report import answers, assets, page
from domstat_bench import scenario_writer, scenarios
from domstat_bench.scenario_courses import DAY_MS, HOUR_MS
from domstat_lab.browser import Chromium
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

HOSTS, GUESTS, DAYS = 6, 60, 300
"""The fleet, and how long its history is. It takes a minute or two to write."""

NOW_MS = scenarios.END_MS - 120 * DAY_MS
"""When the page is made: some months before the fleet is full everywhere, which would make a dull picture."""

SETTINGS = Capacity(cpu_buffer=0.05, memory_buffer=0.05, storage_buffer=0.05)

BYTES_MAX = 400_000
"""Of one picture, as they are kept for ever."""


class Shot(Struct, frozen=True):
    """A picture: its file, and its size in pixels."""

    name: str
    width: int
    height: int


SHOTS = (Shot("report-wide.png", 1280, 3050), Shot("report-narrow.png", 420, 2000))


def main() -> None:
    """Make the pictures in the folder that is given."""
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="domstat-") as name:
        scratch = Path(name)
        file = scratch / "report.html"
        file.write_text(_page(scratch), encoding="utf-8")
        with Chromium(scratch / "chromium") as browser:
            for shot in SHOTS:
                _take(browser, file, shot, folder / shot.name)


def _page(folder: Path) -> str:
    fleet = scenarios.named("fleet", days=DAYS, hosts=HOSTS, guests=GUESTS)
    print(f"writing {DAYS} days of {GUESTS} guests on {HOSTS} hosts", file=sys.stderr)
    scenario_writer.write(replace(fleet.world, step_ms=HOUR_MS), folder, sketched_ms=0)
    with SqliteSink.history(SqliteSettings(), folder) as history:
        return page.write(answers.ask(Figures(history, NOW_MS, SETTINGS)), assets.load())


def _take(browser: Chromium, file: Path, shot: Shot, path: Path) -> None:
    shown = browser.open(file, width=shot.width)
    shown.wait_for("document.documentElement.dataset.drawn")
    if shown.complaints:
        raise SystemExit(f"{shot.name}: the page complains: {shown.complaints}")
    shown.picture(path, height=shot.height)
    size = path.stat().st_size
    if size > BYTES_MAX:
        raise SystemExit(f"{path} has {size} bytes, and no more than {BYTES_MAX} are kept: make it less high")
    print(f"{path}: {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
