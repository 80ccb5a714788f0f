"""Whether the configuration is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from doctor.seen import config, only, verdicts
from domstat.config import ConfigError, parse
from domstat.doctor.configuration import right, wrong
from domstat.doctor.finding import Verdict


def test_one_that_is_right_says_what_it_means() -> None:
    found = only(right(config()))
    assert found.verdict is Verdict.OK
    assert found.found.startswith("/etc/domstat/domstat.toml: 1 host, 1 sink, state in ")


def test_everything_that_is_wrong_is_trouble_by_itself() -> None:
    with pytest.raises(ConfigError) as caught:
        parse('[agent]\ninterval = "1ms"\n[journal]\nmax_bytes = "1B"\n', Path("/etc/domstat/domstat.toml"))
    found = list(wrong(caught.value))
    assert verdicts(found) == [Verdict.TROUBLE, Verdict.TROUBLE]
    assert "agent.interval" in found[0].found
    assert "journal.max_bytes" in found[1].found
    assert all("domstat check" in each.fix for each in found)
