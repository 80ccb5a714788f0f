"""Grafana's dashboards for domstat, written out: ``python packaging/grafana/dashboards.py`` makes the files beside it.

What they show is a table in :mod:`panels`; where panels stand, and which variables there are, follows. The ids are
fixed, so that an import replaces what was there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from panels import DASHBOARDS, GUEST_I, HOST_I, Dashboard, Panel

HERE = Path(__file__).parent

SCHEMA_VERSION = 39
"""Grafana 10.4's; newer ones upgrade it by themselves."""

WIDTH = 24
"""Grafana's grid."""

HEIGHTS = {"timeseries": 8, "stat": 4, "table": 9, "bargauge": 8}

Store: TypeAlias = Literal["prometheus", "influxdb"]
STORES: tuple[Store, ...] = ("prometheus", "influxdb")

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
