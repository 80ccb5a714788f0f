"""Collecting: from libvirt's bulk call to a batch of records. libvirt itself lives in the worker process only."""
