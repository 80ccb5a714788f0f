"""A sink that keeps every promise passes the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from domstat.testing import SinkContract, Store
from goodsink import GoodStore


class TestGoodSink(SinkContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return GoodStore(tmp_path)
