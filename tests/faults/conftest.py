"""The private libvirtd with real guests, and the agent as a process, as the tests of :mod:`real` have them."""

from __future__ import annotations

from real.conftest import lab, run_agent

__all__ = ["lab", "run_agent"]
