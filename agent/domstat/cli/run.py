"""``domstat run``: the agent."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, ConfigOption, fail, leave, load_config, on_stop_signals


def run(config: ConfigOption = None) -> None:
    """Run the agent: collect on schedule, hand everything to the sinks, until SIGTERM or Ctrl-C.

    SIGHUP, or domstat reload, has it read its configuration again; but if the terminal is gone, it ends with it.
    """
    from domstat import telemetry
    from domstat.config import ConfigError
    from domstat.notify import Notifier
    from domstat.service import Service
    from domstat.state import StateError

    loaded = load_config(config)
    if sys.stderr is not None:
        sys.stdout = sys.stderr  # what a sink prints must not come between what the sink stdout writes
    telemetry.configure(loaded.agent.log_level)
    leave_no_cores()
    notifier = Notifier.from_environment(os.environ, os.getpid())
    try:
        service = Service(loaded, telemetry.get_logger(), notifier=notifier)
    except ConfigError as error:
        fail(EXIT_USAGE, *error.lines)
    signal.set_wakeup_fd(service.wakeup_fd, warn_on_full_buffer=False)
    on_stop_signals(service.stop)
    on_hangup(service.reload, service.stop)
    try:
        leave(0 if service.run() else EXIT_TROUBLE)
    except StateError as error:
        fail(EXIT_TROUBLE, str(error))


def leave_no_cores() -> None:
    """Have neither this process nor what it starts leave its memory on the disk when it crashes: secrets are in it.

    Whoever looks for a fault may raise the limit again, with prlimit(1).
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def on_hangup(reload: Callable[[], None], stop: Callable[[], None]) -> None:
    """Have SIGHUP call *reload*; or *stop*, where it comes since the terminal was closed that the process had."""
    had_terminal = _has_terminal()

    def handle(_number: int, _frame: object) -> None:
        (stop if had_terminal and not _has_terminal() else reload)()

    signal.signal(signal.SIGHUP, handle)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
