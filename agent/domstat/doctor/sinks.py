"""Do sinks take what they are given? Pure.

No sink is opened and nothing is written for the sake of looking: the running agent knows. Without one it is only tried
whether the servers that are configured can be connected to.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from domstat.deliver.account import SinkAccount
from domstat.deliver.courier import State
from domstat.doctor.finding import Finding, ok, trouble, unknown, warning
from domstat.doctor.scene import TargetSeen
from domstat.settings import Duration
from domstat.text import span

LAG_S_MAX = 60.0
"""A sink that is further behind has been away: a server that restarts is back by then."""

_ADVICE = (
    (("401", "403", "unauthor", "forbidden", "authentic", "token", "password"),
     "see that its token or password is right and may write: the file that [[sinks]] names, mode 0600"),
    (("certificate", "tls", "ssl"), "see that the server's certificate is of a CA known here: ca_file in [[sinks]]"),
    (("refused", "reset", "timed out", "timeout", "unreachable"), "see that the server runs; and firewalls"),
    (("resolve", "name or service", "no address"), "see that url in [[sinks]] names the server rightly"),
    (("404", "not found", "does not exist"), "see that the bucket, database or path in [[sinks]] exists"),
    (("permission", "read-only"), "see that the agent's user may write there: chown, ReadWritePaths= of the unit"),
    (("no space", "disk is full"), "free some room there"),
    (("lock", "another"), "see who else writes it, and stop that: fuser FILE"),
)  # fmt: skip
"""What is in an error in small letters, and what to do then; the first that fits."""


def advice(error: str) -> str:
    """Say what to do about a sink's error."""
    small = error.lower()
    found = (text for words, text in _ADVICE if any(word in small for word in words))
    return next(found, "see the agent's log: journalctl -u domstat")


def sinks(
    configured: Sequence[str],
    accounts: Sequence[SinkAccount] | None,
    targets: Iterable[TargetSeen],
    strangers: Mapping[str, int],
) -> Iterator[Finding]:
    """Say of every configured sink how it is: by the running agent's *accounts*, or by its servers' ports.

    *strangers* are sinks that are configured no more, and how many records the journal keeps for each.
    """
    if not configured:
        yield trouble("", "no sink is configured: nothing that is collected is kept", '[[sinks]] with type = "sqlite"')
    if accounts is None:
        yield from _without_an_agent(configured, targets)
        return
    for name, records in strangers.items():
        text = f"it is not configured any more, and the journal keeps {records} records for it"
        yield warning(name, text, f"domstat sinks forget {shlex.quote(name)}; or configure it again")
    by_name = {account.name: account for account in accounts}
    for name in configured:
        account = by_name.get(name)
        if account is None:
            text = "the running agent does not have it: it was configured after the agent's start"
            yield warning(name, text, "systemctl reload domstat")
        else:
            yield _sink(account)


def _sink(account: SinkAccount) -> Finding:
    error = f": {account.last_error}" if account.last_error else ""
    if account.state in {State.STOPPED, State.BROKEN} or (not account.is_good and account.last_error):
        return trouble(account.name, f"it is {account.state}{error}", advice(account.last_error))
    if account.unwell:
        return warning(account.name, f"it says: {account.unwell}", advice(account.unwell))
    if not account.is_good:
        return unknown(account.name, f"it is {account.state}, since {span(account.busy_s)}")
    if account.lag_s > LAG_S_MAX:
        behind = f"it takes what it is given, and is {span(account.lag_s)} behind"
        return warning(account.name, behind, "wait; or batch = 100 in [[sinks]], for fewer and larger writes")
    if not account.written:
        return unknown(account.name, "it is ready, and nothing has been written yet")
    took = Duration(round(account.write_s, 4)) if account.write_s >= 0.0001 else "no time"
    return ok(account.name, f"it takes what it is given; the newest write took {took}")


def _without_an_agent(configured: Sequence[str], targets: Iterable[TargetSeen]) -> Iterator[Finding]:
    by_sink: dict[str, list[TargetSeen]] = {}
    for target in targets:
        by_sink.setdefault(target.sink, []).append(target)
    for name in configured:
        lost = [target for target in by_sink.get(name, ()) if target.error]
        for target in lost:
            yield trouble(name, f"{target.address} cannot be connected to: {target.error}", advice(target.error))
        if not lost:
            there = ", ".join(target.address for target in by_sink.get(name, ()))
            reached = f"{there} can be connected to; " if there else ""
            yield unknown(name, f"{reached}whether it takes what it is given a running agent knows", "domstat run")
