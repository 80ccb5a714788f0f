"""How servers refuse lines of line protocol. Pure.

Refusals come in measurements (a field's type), so lines of one are kept together; InfluxDB 1 and 2 say how many lines
they left out, and a request of nothing but such lines is known by that. InfluxDB 3 names them.
"""

from __future__ import annotations

from collections.abc import Sequence

from domstat_sinks.sending.answers import Refused, TooLarge
from domstat_sinks.sending.bisection import Manner


def _counts_all(lines: Sequence[bytes], answer: TooLarge | Refused) -> bool:
    return isinstance(answer, Refused) and answer.dropped == len(lines)


def _measurement(line: bytes) -> bytes:
    return line.partition(b",")[0]


LINE_PROTOCOL = Manner(_counts_all, kinship=_measurement)
