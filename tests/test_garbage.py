"""The garbage collector's setting."""

from __future__ import annotations

import gc

from domstat.garbage import YOUNG_OBJECTS_MAX, spare_collections


def test_the_collector_goes_on_but_seldom_and_not_through_what_is_there_for_good() -> None:
    spare_collections()
    assert gc.isenabled()
    assert gc.get_threshold()[0] == YOUNG_OBJECTS_MAX
    assert gc.get_freeze_count() > 0
