"""The parquet sink: everything that is collected as Parquet files, in a folder or an object store.

``settings`` say where to; ``layout`` names every file there; ``tables`` makes rows into tables, and files of these;
``stores`` is a folder or an object store, in which a file is there whole or not at all; ``hours`` makes an hour's file
of what came in it; ``waiting`` knows what is in no hour's file yet; ``sink`` puts them together.
"""

from domstat_sinks.parquet.sink import ParquetSink

__all__ = ["ParquetSink"]
