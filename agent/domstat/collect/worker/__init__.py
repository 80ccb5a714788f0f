"""The worker process: the only place that knows libvirt. See :mod:`domstat.collect.worker.__main__`."""
