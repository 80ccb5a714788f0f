"""The influxdb sink: everything that is collected, as line protocol to anything that has InfluxDB's /api/v2/write.

``settings`` and ``token`` say where to and as whom; ``client`` sends one body and gives the answer, ``sender`` with the
token of the day; ``answers`` says what an answer means; ``bisection`` finds the lines that a server refuses; ``sink``
puts them together.
"""

from domstat_sinks.influxdb.sink import InfluxdbSink

__all__ = ["InfluxdbSink"]
