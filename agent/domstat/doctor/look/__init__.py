"""Looking: the only modules of the doctor that touch the world. What they see goes into a scene; they judge nothing."""

from __future__ import annotations

from domstat.config import Config
from domstat.doctor.look import around, disks, files, hosts, network, past, running
from domstat.doctor.scene import Scene


def look(config: Config, explain: hosts.Explain) -> Scene:
    """Look at everything that *config* means. May take a minute where hosts do not answer; never raises for that."""
    agent = running.see_agent(config.status_socket)
    unit = running.see_unit(running.UNIT_FOLDERS)
    return Scene(
        config=config,
        uid=running.user_of(agent, unit, config.state_dir),
        agent=agent,
        unit=unit,
        hosts=hosts.see_hosts(config.hosts, explain),
        schedstats=around.schedstats(),
        clock=around.see_clock(),
        versions=around.see_versions(),
        files=files.see_files(config),
        disks=disks.see_disks(config),
        writers=files.see_writers(config),
        past=past.see_past(config.sinks, config.state_dir),
        targets=() if agent.report is not None else network.see_targets(config.sinks),
    )
