"""The sink ``prometheus``: the latest of everything at an HTTP endpoint, for Prometheus to scrape."""

from domstat_sinks.prometheus.sink import PrometheusSink

__all__ = ["PrometheusSink"]
