"""The postgres sink: everything that is collected, in a PostgreSQL that anybody can ask, TimescaleDB if it is there.

``settings`` say where to and as whom; ``session`` is one connection with its bounds; ``schema`` has the tables and
``preparing`` makes them; ``rows`` turns records into rows, ``numbers`` knows the numbers that stand for names in them,
``writing`` stores them in one transaction; ``days`` makes room and lets go what is too old; ``meanings`` says what
errors mean; ``sink`` puts them together.
"""

from domstat_sinks.postgres.sink import PostgresSink

__all__ = ["PostgresSink"]
