"""The influxdb sink: everything that is collected, as line protocol to anything that has InfluxDB's /api/v2/write.

``settings`` say where to and as whom; ``client`` sends one body and gives the answer; ``answers`` says what an answer
means, ``refusals`` how lines are refused; ``sink`` puts them together, with what :mod:`domstat_sinks.sending` has.
"""

from domstat_sinks.influxdb.sink import InfluxdbSink

__all__ = ["InfluxdbSink"]
