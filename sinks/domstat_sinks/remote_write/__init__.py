"""The remote_write sink: what the prometheus sink shows, sent by Prometheus' own protocol with the time of each tick.

``settings`` say where to and as whom; ``series`` writes a record's samples as protobuf, ``memory`` knows what records
do not say themselves, ``encoder`` makes pieces of requests with both, ``requests`` puts these together; ``client``
sends a request, ``answers`` says what an answer means, ``refusals`` finds what was refused; ``sink`` is all of it.
"""

from domstat_sinks.remote_write.sink import RemoteWriteSink

__all__ = ["RemoteWriteSink"]
