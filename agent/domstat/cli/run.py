"""``domstat run``: the agent."""

from __future__ import annotations

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, ConfigOption, fail, leave, load_config, on_stop_signals


def run(config: ConfigOption = None) -> None:
    """Run the agent: collect on schedule, hand everything to the sinks, until SIGTERM or Ctrl-C."""
    from domstat import telemetry
    from domstat.service import Service
    from domstat.state import StateError

    loaded = load_config(config)
    if not loaded.sinks:
        fail(EXIT_USAGE, f"{loaded.path}: sinks: found an empty list; nothing that is collected would be kept")
    telemetry.configure(loaded.agent.log_level)
    service = Service(loaded, telemetry.get_logger())
    on_stop_signals(service.stop)
    try:
        leave(0 if service.run() else EXIT_TROUBLE)
    except StateError as error:
        fail(EXIT_TROUBLE, str(error))
