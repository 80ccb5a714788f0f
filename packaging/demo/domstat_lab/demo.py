"""`./dev demo`: the agent for half a minute, on this machine's guests or on two it starts for the purpose."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from domstat_lab import image
from domstat_lab.errors import LabError

ROOT = Path(__file__).parents[3]
DOMSTAT = ROOT / ".venv" / "bin" / "domstat"
STATE = ROOT / ".dev" / "demo"
INTERVAL_S = 2  # seconds between two rows of the demo: half a minute then shows fifteen
END_TIMEOUT_S = 15.0  # seconds the agent or the lab may take to end: both need one or two
QUERY_TIMEOUT_S = 60.0  # seconds for one answer out of half a minute of history
GUESTS = ("web-1=burner+pinger", "db-1=writer+pinger")
CONFIG = """\
[agent]
state_dir = {state}
interval = "{interval}s"
log_level = "warning"

[[hosts]]
uri = {uri}
name = "demo"

[[sinks]]
type = "sqlite"
path = "history.db"

[[sinks]]
type = "stdout"
format = "table"
"""
QUERY = """\
SELECT domain,
       round(avg(CASE field WHEN 'cpu.time' THEN value END), 3) AS cpu_cores,
       round(sum(CASE field WHEN 'block.wr.bytes' THEN value END)
             / count(DISTINCT CASE field WHEN 'block.wr.bytes' THEN time_ms END)) AS bytes_written_per_second
FROM rates WHERE kind = 'guest' GROUP BY domain ORDER BY domain"""


def main() -> None:
    """Watch for a while, then ask the history; Ctrl-C only makes the while shorter."""
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to watch (default: 30)")
    parser.add_argument("--uri", help="a libvirt with guests to watch instead of starting some")
    arguments = parser.parse_args()
    # SIGINT too: a shell's background job begins with it ignored, and the agent would inherit that.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if arguments.uri:
            print(f"Watching this machine's guests, read-only, at {arguments.uri}.", flush=True)
            config = _watch(arguments.uri, arguments.seconds)
        else:
            with _lab() as uri:
                config = _watch(uri, arguments.seconds)
        _ask_history(config)
    except LabError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def _lab() -> Iterator[str]:
    """Run a private libvirtd with two Linux guests; as root, because it needs to be, unlike the agent."""
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise LabError("this machine has no guests, and starting some needs root: install sudo, or run it as root")
    print("No guests on this machine: starting two small Linux guests of the demo's own ...", flush=True)
    cache = image.default_cache()
    image.ensure(cache)  # here and not as root, so that the cache stays the user's
    with tempfile.TemporaryDirectory(prefix="domstat-demo-", ignore_cleanup_errors=True) as folder:
        # -B: no byte code of root's in the user's tree.
        command = [sys.executable, "-B", "-m", "domstat_lab", "up", f"{folder}/lab", "--remove", "--guests", "0"]
        command += [f"--guest={guest}" for guest in GUESTS]
        with subprocess.Popen(
            command if os.geteuid() == 0 else ["sudo", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as lab:
            assert lab.stdin is not None
            assert lab.stdout is not None
            try:
                ready = lab.stdout.readline()
                if not ready:
                    raise LabError("the guests could not be started, see above")
                yield json.loads(ready)["uri_ro"]
            finally:
                lab.stdin.close()
                lab.wait(END_TIMEOUT_S)


def _watch(uri: str, seconds: float) -> Path:
    """Run the agent, with a table on the terminal and a history on disk; return its configuration."""
    if not DOMSTAT.exists():
        raise LabError(f"{DOMSTAT} does not exist: run the demo by ./dev demo, which installs it")
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(mode=0o700, parents=True)
    config = STATE / "domstat.toml"
    # JSON's strings are TOML's too.
    config.write_text(CONFIG.format(state=json.dumps(str(STATE)), interval=INTERVAL_S, uri=json.dumps(uri)))
    agent = subprocess.Popen(
        # Its own session: Ctrl-C reaches it once, from here. setpriv: it does not outlive a killed demo.
        ["setpriv", "--pdeathsig", "INT", DOMSTAT, "run", "--config", config],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = agent.wait(seconds)
        raise LabError(f"domstat ended by itself with status {status}, see above")
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        _end(agent)
    return config


def _end(agent: subprocess.Popen[bytes]) -> None:
    """Stop the agent the way a user does."""
    agent.send_signal(signal.SIGINT)
    try:
        agent.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()
        raise LabError(f"domstat did not end within {END_TIMEOUT_S:g} s of SIGINT and was killed") from None


def _ask_history(config: Path) -> None:
    """Show that what went by is kept, and how to get at it."""
    command = [str(DOMSTAT.relative_to(ROOT)), "history", "sql", "--config", str(config.relative_to(ROOT))]
    print(f"\nThe history of this demo is in {STATE.relative_to(ROOT)}/history.db. Asking it:\n")
    print(f'{" ".join(command)} "\n{QUERY}"\n', flush=True)
    done = subprocess.run([*command, QUERY], cwd=ROOT, timeout=QUERY_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise LabError(f"the history gave no answer (status {done.returncode}), see above")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
