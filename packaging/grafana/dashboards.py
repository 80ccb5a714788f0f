"""Grafana's dashboards for domstat, written out: ``python packaging/grafana/dashboards.py`` makes the files beside it.

A panel is a line of a table: what it is called, its unit, how it is drawn, and the query for each kind of store. All
else (where panels stand, variables, thresholds) follows. The ids are fixed, so that an import replaces what was there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

HERE = Path(__file__).parent

SCHEMA_VERSION = 39
"""Grafana 10.4's; newer ones upgrade it by themselves."""

WIDTH = 24
"""Grafana's grid."""

HEIGHTS = {"timeseries": 8, "stat": 4, "table": 9, "bargauge": 8}

Drawn: TypeAlias = Literal["timeseries", "stat", "table", "bargauge"]
Store: TypeAlias = Literal["prometheus", "influxdb"]
STORES: tuple[Store, ...] = ("prometheus", "influxdb")

HOST_P, GUEST_P = 'host=~"$host"', 'host=~"$host",domain=~"$domain"'
HOST_I, GUEST_I = "host =~ /^$host$/", "host =~ /^$host$/ AND domain =~ /^$domain$/"
"""How the variables choose, in labels and in tags."""


class Panel(NamedTuple):
    """One panel: *prometheus* is a PromQL query, *influxdb* (field or expression, measurement, tags to group by)."""

    title: str
    unit: str
    prometheus: str
    legend: str
    influxdb: tuple[str, str, str]
    drawn: Drawn = "timeseries"
    width: int = 12


class Dashboard(NamedTuple):
    """One dashboard, and which of the variables host and domain it has."""

    uid: str
    title: str
    variables: tuple[str, ...]
    panels: tuple[Panel, ...]


def _rate(metric: str, labels: str) -> str:
    return f"rate(domstat_{metric}{{{labels}}}[$__rate_interval])"


def _mean(field: str) -> str:
    return f'mean("{field}")'


FLEET = Dashboard(
    "domstat-fleet",
    "domstat / Fleet",
    (),
    (
        Panel(
            "Hosts", "short", "count(domstat_host_cpus)", "hosts", ('last("cpus")', "domstat_host", "host"), "stat", 6
        ),
        Panel(
            "Guests that run",
            "short",
            "sum(domstat_guest_state == bool 1)",
            "guests",
            ('last("guests")', "domstat_agent", "host"),
            "stat",
            6,
        ),
        Panel(
            "vCPUs given out",
            "short",
            "sum(domstat_vcpu_current)",
            "vCPUs",
            ('last("vcpu.current")', "domstat_vcpu", "uuid"),
            "stat",
            6,
        ),
        Panel(
            "Memory of guests on the hosts",
            "bytes",
            "sum(domstat_balloon_rss_bytes)",
            "memory",
            ('last("balloon.rss") * 1024', "domstat_balloon", "uuid"),
            "stat",
            6,
        ),
        Panel(
            "CPU of hosts",
            "percentunit",
            "domstat_host_cpu_utilization_ratio",
            "{{host}}",
            (_mean("cpu.utilization"), "domstat_host", "host"),
        ),
        Panel(
            "Memory of hosts",
            "percentunit",
            "domstat_host_memory_used_bytes / domstat_host_memory_total_bytes",
            "{{host}}",
            ('mean("memory.used") / mean("memory.total") / 1024', "domstat_host", "host"),
        ),
        Panel(
            "Guests that keep most CPUs busy",
            "short",
            "topk(10, rate(domstat_cpu_time_seconds_total[$__rate_interval]))",
            "{{domain}} on {{host}}",
            (_mean("cpu.cores"), "domstat_cpu", "domain"),
            "bargauge",
        ),
        Panel(
            "Guests whose vCPUs wait most",
            "percentunit",
            "topk(10, max by (host, domain) (rate(domstat_vcpu_delay_seconds_total[$__rate_interval])))",
            "{{domain}} on {{host}}",
            ('max("vcpu.steal")', "domstat_vcpu", "domain"),
            "bargauge",
        ),
        Panel(
            "Storage pools",
            "percentunit",
            "domstat_pool_allocation_bytes / domstat_pool_capacity_bytes",
            "{{pool}} on {{host}}",
            ('last("allocation") / last("capacity")', "domstat_pool", '"host", "pool"'),
        ),
        Panel(
            "Events",
            "short",
            "sum by (type) (increase(domstat_events_total[$__rate_interval]))",
            "{{type}}",
            ('sum("count")', "domstat_event", "type"),
        ),
    ),
)

HOST = Dashboard(
    "domstat-host",
    "domstat / Host",
    ("host",),
    (
        Panel(
            "CPU",
            "percentunit",
            f"domstat_host_cpu_utilization_ratio{{{HOST_P}}}",
            "{{host}}",
            (_mean("cpu.utilization"), "domstat_host", "host"),
        ),
        Panel(
            "Memory used",
            "bytes",
            f"domstat_host_memory_used_bytes{{{HOST_P}}}",
            "{{host}}",
            (_mean("memory.used"), "domstat_host", "host"),
        ),
        Panel(
            "CPUs that guests keep busy",
            "short",
            _rate("cpu_time_seconds_total", HOST_P),
            "{{domain}}",
            (_mean("cpu.cores"), "domstat_cpu", "domain"),
        ),
        Panel(
            "Memory of guests",
            "bytes",
            f"domstat_balloon_rss_bytes{{{HOST_P}}}",
            "{{domain}}",
            ('mean("balloon.rss") * 1024', "domstat_balloon", "domain"),
        ),
        Panel(
            "Disks: bytes per second",
            "Bps",
            f"sum by (domain) ({_rate('block_rd_bytes_total', HOST_P)} + {_rate('block_wr_bytes_total', HOST_P)})",
            "{{domain}}",
            ('mean("block.rd.bytes.rate") + mean("block.wr.bytes.rate")', "domstat_block", '"domain", "device"'),
        ),
        Panel(
            "Network: bytes per second",
            "Bps",
            f"sum by (domain) ({_rate('net_rx_bytes_total', HOST_P)} + {_rate('net_tx_bytes_total', HOST_P)})",
            "{{domain}}",
            ('mean("net.rx.bytes.rate") + mean("net.tx.bytes.rate")', "domstat_net", '"domain", "device"'),
        ),
        Panel(
            "vCPUs that wait for a CPU",
            "percentunit",
            f"max by (domain) ({_rate('vcpu_delay_seconds_total', HOST_P)})",
            "{{domain}}",
            ('max("vcpu.steal")', "domstat_vcpu", "domain"),
        ),
        Panel(
            "Disks: mean time of a write",
            "s",
            f"max by (domain) (domstat_block_wr_latency_seconds{{{HOST_P}}})",
            "{{domain}}",
            ('max("block.wr.latency")', "domstat_block", "domain"),
        ),
    ),
)

GUEST = Dashboard(
    "domstat-guest",
    "domstat / Guest",
    ("host", "domain"),
    (
        Panel(
            "CPU used of its vCPUs",
            "percentunit",
            f"domstat_cpu_utilization_ratio{{{GUEST_P}}}",
            "{{domain}}",
            (_mean("cpu.utilization"), "domstat_cpu", "domain"),
        ),
        Panel(
            "vCPUs",
            "percentunit",
            _rate("vcpu_time_seconds_total", GUEST_P),
            "{{domain}} {{device}}",
            (_mean("vcpu.time.rate"), "domstat_vcpu", '"domain", "device"'),
        ),
        Panel(
            "vCPUs that wait for a CPU",
            "percentunit",
            _rate("vcpu_delay_seconds_total", GUEST_P),
            "{{domain}} {{device}}",
            (_mean("vcpu.steal"), "domstat_vcpu", '"domain", "device"'),
        ),
        Panel(
            "Memory used, as its driver says",
            "bytes",
            f"domstat_memory_used_bytes{{{GUEST_P}}}",
            "{{domain}}",
            (_mean("memory.used"), "domstat_memory", "domain"),
        ),
        Panel(
            "Memory on the host",
            "bytes",
            f"domstat_balloon_rss_bytes{{{GUEST_P}}}",
            "{{domain}}",
            ('mean("balloon.rss") * 1024', "domstat_balloon", "domain"),
        ),
        Panel(
            "Swapped and faulted in",
            "short",
            _rate("balloon_major_faults_total", GUEST_P),
            "{{domain}}",
            (_mean("balloon.major_fault.rate"), "domstat_balloon", "domain"),
        ),
        *(
            Panel(
                f"Disks: {what}",
                unit,
                _rate(metric, GUEST_P),
                "{{domain}} {{device}}",
                (_mean(field), "domstat_block", '"domain", "device"'),
            )
            for what, unit, metric, field in (
                ("bytes read", "Bps", "block_rd_bytes_total", "block.rd.bytes.rate"),
                ("bytes written", "Bps", "block_wr_bytes_total", "block.wr.bytes.rate"),
                ("reads", "iops", "block_rd_requests_total", "block.rd.reqs.rate"),
                ("writes", "iops", "block_wr_requests_total", "block.wr.reqs.rate"),
            )
        ),
        *(
            Panel(
                f"Disks: mean time of a {what}",
                "s",
                f"domstat_block_{which}_latency_seconds{{{GUEST_P}}}",
                "{{domain}} {{device}}",
                (_mean(f"block.{which}.latency"), "domstat_block", '"domain", "device"'),
            )
            for what, which in (("read", "rd"), ("write", "wr"))
        ),
        *(
            Panel(
                f"Network: {what}",
                unit,
                _rate(metric, GUEST_P),
                "{{domain}} {{device}}",
                (_mean(field), "domstat_net", '"domain", "device"'),
            )
            for what, unit, metric, field in (
                ("bytes received", "Bps", "net_rx_bytes_total", "net.rx.bytes.rate"),
                ("bytes sent", "Bps", "net_tx_bytes_total", "net.tx.bytes.rate"),
                ("packets received and dropped", "pps", "net_rx_dropped_packets_total", "net.rx.drop.rate"),
                ("errors", "pps", "net_tx_errors_total", "net.tx.errs.rate"),
            )
        ),
    ),
)

_RESOURCES = (("CPU", "cpu"), ("memory", "memory"), ("storage", "storage"))

CAPACITY = Dashboard(
    "domstat-capacity",
    "domstat / Capacity",
    ("host",),
    (
        *(
            Panel(
                f"Time remaining: {what}",
                "s",
                f"domstat_capacity_{which}_runway_conservative_seconds{{{HOST_P}}}",
                "{{host}}",
                (f'last("capacity.{which}.runway.conservative")', "domstat_agent", "host"),
                "stat",
                8,
            )
            for what, which in _RESOURCES
        ),
        *(
            Panel(
                f"Full within 30 days: {what}",
                "percentunit",
                f"domstat_capacity_{which}_risk_days30{{{HOST_P}}}",
                "{{host}}",
                (f'last("capacity.{which}.risk.days30")', "domstat_agent", "host"),
                "bargauge",
                8,
            )
            for what, which in _RESOURCES
        ),
        *(
            Panel(
                f"Capacity remaining: {what}",
                unit,
                f"domstat_capacity_{which}_remaining{suffix}{{{HOST_P}}}",
                "{{host}}",
                (f'last("capacity.{which}.remaining")', "domstat_agent", "host"),
                "timeseries",
                8,
            )
            for (what, which), unit, suffix in zip(
                _RESOURCES, ("short", "bytes", "bytes"), ("", "_bytes", "_bytes"), strict=True
            )
        ),
        *(
            Panel(
                f"Peak of usable: {what}",
                "percentunit",
                f"domstat_capacity_{which}_peak{suffix}{{{HOST_P}}}"
                f" / domstat_capacity_{which}_usable{suffix}{{{HOST_P}}}",
                "{{host}}",
                (f'last("capacity.{which}.peak") / last("capacity.{which}.usable")', "domstat_agent", "host"),
                "timeseries",
                8,
            )
            for (what, which), suffix in zip(_RESOURCES, ("", "_bytes", "_bytes"), strict=True)
        ),
    ),
)

AGENT = Dashboard(
    "domstat-agent",
    "domstat / Agent",
    (),
    (
        Panel(
            "Age of the newest tick",
            "s",
            "time() - domstat_stream_last_tick_timestamp_seconds",
            "{{host}} {{collect}}",
            ('count("calls")', "domstat_agent", '"host", "collect"'),
        ),
        Panel(
            "Time of a call",
            "s",
            "domstat_agent_call_time_seconds",
            "{{host}} {{collect}}",
            ('mean("call.time") / 1000000000', "domstat_agent", '"host", "collect"'),
        ),
        Panel(
            "Guests that hang",
            "short",
            "domstat_agent_quarantined",
            "{{host}} {{collect}}",
            ('max("quarantined")', "domstat_agent", '"host", "collect"'),
        ),
        Panel(
            "Ticks skipped and failed",
            "short",
            "increase(domstat_agent_skipped_total[$__rate_interval])"
            " + increase(domstat_agent_failed_total[$__rate_interval])",
            "{{host}} {{collect}}",
            ('max("skipped") + max("failed")', "domstat_agent", '"host", "collect"'),
        ),
        Panel(
            "How far sinks lag",
            "s",
            "domstat_agent_sink_lag_time_seconds",
            "{{device}}",
            ('max("sink.lag.time") / 1000000000', "domstat_agent", "device"),
        ),
        Panel(
            "Records that wait for sinks",
            "short",
            "domstat_agent_sink_pending",
            "{{device}}",
            ('max("sink.pending")', "domstat_agent", "device"),
        ),
        Panel(
            "Records rejected",
            "short",
            "increase(domstat_agent_sink_rejected_total[$__rate_interval])",
            "{{device}}",
            ('max("sink.rejected")', "domstat_agent", "device"),
        ),
        Panel(
            "The journal",
            "bytes",
            "domstat_agent_journal_bytes",
            "{{host}}",
            ('max("journal.bytes")', "domstat_agent", "host"),
        ),
    ),
)

DASHBOARDS = (FLEET, HOST, GUEST, CAPACITY, AGENT)

_SOURCES = {"prometheus": "prometheus", "influxdb": "influxdb"}

_VARIABLES = {
    "host": {"prometheus": "label_values(domstat_host_cpus, host)", "influxdb": 'SHOW TAG VALUES WITH KEY = "host"'},
    "domain": {
        "prometheus": 'label_values(domstat_guest_state{host=~"$host"}, domain)',
        "influxdb": 'SHOW TAG VALUES WITH KEY = "domain" WHERE host =~ /^$host$/',
    },
}


def query(panel: Panel, variables: Sequence[str], store: Store) -> str:
    """Return the panel's query as Grafana sends it, its own variables not filled in yet."""
    if store == "prometheus":
        return panel.prometheus
    what, measurement, tags = panel.influxdb
    chosen = {(): "", ("host",): f"{HOST_I} AND "}.get(tuple(variables), f"{GUEST_I} AND ")
    grouped = tags if tags.startswith('"') else f'"{tags}"'
    return (
        f'SELECT {what} FROM "{measurement}" WHERE {chosen}$timeFilter GROUP BY time($__interval), {grouped} fill(none)'
    )


def _panels(dashboard: Dashboard, store: Store) -> Iterator[dict[str, Any]]:
    x = y = row = 0
    for number, panel in enumerate(dashboard.panels, 1):
        height = HEIGHTS[panel.drawn]
        if x + panel.width > WIDTH:
            x, y, row = 0, y + row, 0
        yield {
            "id": number,
            "title": panel.title,
            "type": panel.drawn,
            "datasource": {"type": _SOURCES[store], "uid": "${datasource}"},
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": height},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "targets": [_target(panel, dashboard.variables, store)],
        }
        x, row = x + panel.width, max(row, height)


def _target(panel: Panel, variables: Sequence[str], store: Store) -> dict[str, Any]:
    text = query(panel, variables, store)
    if store == "prometheus":
        return {"refId": "A", "expr": text, "legendFormat": panel.legend, "instant": panel.drawn != "timeseries"}
    return {"refId": "A", "query": text, "rawQuery": True, "resultFormat": "time_series"}


def _variables(dashboard: Dashboard, store: Store) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "query": _SOURCES[store], "label": "Store"}
    for name in dashboard.variables:
        yield {
            "name": name,
            "type": "query",
            "datasource": {"type": _SOURCES[store], "uid": "${datasource}"},
            "query": _VARIABLES[name][store],
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "sort": 1,
        }


def made(dashboard: Dashboard, store: Store) -> dict[str, Any]:
    """Return a dashboard as Grafana imports it."""
    return {
        "uid": f"{dashboard.uid}-{store}",
        "title": f"{dashboard.title} ({'Prometheus' if store == 'prometheus' else 'InfluxDB'})",
        "tags": ["domstat", "libvirt"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": list(_variables(dashboard, store))},
        "links": [
            {"type": "dashboards", "tags": ["domstat"], "asDropdown": True, "title": "domstat", "keepTime": True}
        ],
        "panels": list(_panels(dashboard, store)),
    }


def path_of(dashboard: Dashboard, store: Store) -> Path:
    """Return where a dashboard's file is."""
    return HERE / store / f"{dashboard.uid.removeprefix('domstat-')}.json"


def text_of(dashboard: Dashboard, store: Store) -> str:
    """Return a dashboard's file."""
    return json.dumps(made(dashboard, store), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all files."""
    for store in STORES:
        for dashboard in DASHBOARDS:
            path = path_of(dashboard, store)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text_of(dashboard, store))


if __name__ == "__main__":
    main()
