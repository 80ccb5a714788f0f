"""`python -m domstat_lab up FOLDER`: a hypervisor with guests for as long as this process lives."""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import get_args

from domstat_lab import guests, image
from domstat_lab.errors import LabError
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import GuestSpec, Workload, tiny

WORKLOADS: tuple[Workload, ...] = get_args(Workload)
STOPPED_BY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    """Parse the command line and do it; a failure of the lab is one message and status 1."""
    parser = argparse.ArgumentParser(prog="python -m domstat_lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    up = commands.add_parser("up", help="start, say so in one line of JSON, and stay until SIGTERM, SIGINT or EOF")
    up.add_argument("folder", type=Path, help="directory for all of the lab's files; best an empty one")
    up.add_argument("--guests", type=int, default=2, metavar="N", help="Linux guests that write, compute and ping")
    up.add_argument("--guest", action="append", default=[], metavar="NAME=WORK+WORK", help="one more Linux guest")
    up.add_argument("--tiny", type=int, default=0, metavar="N", help="sleeping guests, for counting")
    up.add_argument("--cache", type=Path, default=image.default_cache(), help="where the guest image is kept")
    up.add_argument("--remove", action="store_true", help="delete the folder at the end")
    arguments = parser.parse_args()
    specs = [GuestSpec(f"linux-{number}", workloads=WORKLOADS) for number in range(1, arguments.guests + 1)]
    specs += [_guest(text) for text in arguments.guest]
    specs += [tiny(f"tiny-{number:03}") for number in range(1, arguments.tiny + 1)]
    for number in STOPPED_BY:
        signal.signal(number, _stop)
    try:
        _up(arguments.folder, specs, arguments.cache)
    except LabError as error:
        sys.exit(f"domstat_lab: {error}")
    finally:
        if arguments.remove:
            shutil.rmtree(arguments.folder, ignore_errors=True)


def _guest(text: str) -> GuestSpec:
    """Read `NAME=WORK+WORK`; a workload that does not exist would be one the guest silently does not do."""
    name, _, works = text.partition("=")
    unknown = set(filter(None, works.split("+"))) - set(WORKLOADS)
    if not name or unknown:
        sys.exit(f"domstat_lab: --guest {text}: expected NAME=WORK+WORK with work of {', '.join(WORKLOADS)}")
    return GuestSpec(name, workloads=tuple(work for work in WORKLOADS if work in works.split("+")))


def _up(folder: Path, specs: Sequence[GuestSpec], cache: Path) -> None:
    made = image.ensure(cache) if any(spec.kind == "linux" for spec in specs) else None
    with PrivateLibvirtd(folder) as lab:
        guests.start(lab, specs, made)
        guests.wait_booted(lab, specs)
        ready = {
            "uri_ro": lab.uri_ro,
            "uri_rw": lab.uri_rw,
            "libvirtd_pid": lab.pid,
            "guests": [{"name": spec.name, "uuid": spec.identity, "kind": spec.kind} for spec in specs],
        }
        print(json.dumps(ready), flush=True)
        while os.read(sys.stdin.fileno(), 4096):
            pass


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Leave through the context managers, which clean up; a second signal must not stop them doing it."""
    for number in STOPPED_BY:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


if __name__ == "__main__":
    main()
