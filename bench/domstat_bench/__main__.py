"""``./dev bench``: what is fast, measured."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from domstat.catalog import GROUPS
from domstat.collect.block import ACTIVE, NOWAIT
from domstat_bench import (
    capacity,
    encode,
    forecast,
    hang,
    lab,
    measure,
    memory,
    outage,
    peers,
    plans,
    raw_loop,
    replay,
    report,
    scale,
    scenario_writer,
    scenarios,
    scrape,
    sinks,
    store,
    store_table,
    store_year,
    tick,
)
from domstat_bench.agent_run import SINKS, BenchError
from domstat_bench.scenario_courses import HOUR_MS
from domstat_bench.sink_rigs import RIGS
from domstat_lab.connection import open_connection
from domstat_lab.errors import LabError

REAL_GUESTS = [20]
GUESTS_HELP = "real guests; may be repeated (default: 20)"
PLANS_GUESTS = [50]
REPLAYED_GUESTS = [20, 200, 1000, 5000]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    commands = parser.add_subparsers(metavar="WHAT")
    ticking = commands.add_parser("tick", help="a tick of the agent against the bare call (the default)")
    _add_options(ticking)
    ticking.set_defaults(act=_tick)
    comparing = commands.add_parser("peers", help="other collectors beside domstat, on the same guests")
    comparing.add_argument("--rounds", type=int, default=6, help="rounds measured (default: %(default)s)")
    comparing.add_argument("--guests", type=int, action="append", help=GUESTS_HELP)
    comparing.add_argument("--sinks", default=",".join(SINKS), help="domstat's sinks (default: %(default)s)")
    comparing.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    comparing.set_defaults(act=_peers)
    planning = commands.add_parser("plans", help="what a tick of each plan costs the host")
    planning.add_argument("--rounds", type=int, default=10, help="rounds measured (default: %(default)s)")
    planning.add_argument("--guests", type=int, action="append", help="real guests; may be repeated (default: 50)")
    planning.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    planning.set_defaults(act=_plans)
    hanging = commands.add_parser("hang", help="what becomes of the others when one guest hangs, by collector")
    hanging.add_argument("--seconds", type=float, default=40.0, help="how long it hangs (default: %(default)s)")
    hanging.add_argument("--collector", choices=list(hang.COLLECTORS), action="append", help="may be repeated")
    hanging.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    hanging.set_defaults(act=_hang)
    losing = commands.add_parser("outage", help="what is lost when the store is away, by how it is delivered")
    losing.add_argument("--seconds", type=float, default=18.0, help="how long it is away (default: %(default)s)")
    losing.add_argument("--kills", type=int, default=3, help="kills of what delivers meanwhile (default: %(default)s)")
    losing.add_argument("--seed", type=int, default=1, help="when they are (default: %(default)s)")
    losing.add_argument("--how", choices=outage.ALL, action="append", help="may be repeated (default: all)")
    losing.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    losing.set_defaults(act=_outage)
    scraping = commands.add_parser("scrape", help="a scrape of the prometheus sink beside the library's own rendering")
    scraping.add_argument("--guests", type=int, action="append", help="made-up guests; may be repeated (default: 200)")
    scraping.add_argument("--rounds", type=int, default=20, help="rounds measured (default: %(default)s)")
    scraping.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    scraping.set_defaults(act=_scrape)
    encoding = commands.add_parser("encode", help="a tick as line protocol beside influxdb-client's own Point")
    encoding.add_argument("--guests", type=int, action="append", help="made-up guests; may be repeated (default: 200)")
    encoding.add_argument("--rounds", type=int, default=20, help="rounds measured (default: %(default)s)")
    encoding.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    encoding.set_defaults(act=_encode)
    storing = commands.add_parser("store", help="the history beside VictoriaMetrics, Prometheus and InfluxDB")
    _add_store_options(storing)
    storing.set_defaults(act=_store)
    _add_made_up(commands)
    arguments = parser.parse_args(_with_default(sys.argv[1:], "tick", {*commands.choices, "-h", "--help"}))
    try:
        figures = arguments.act(arguments)
    except (BenchError, LabError) as error:
        sys.exit(f"bench: {error}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report.jsonable(figures), indent=1) + "\n")


def _with_default(words: list[str], default: str, known: set[str]) -> list[str]:
    return words if words and words[0] in known else [default, *words]


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guests", type=int, action="append", help=GUESTS_HELP)
    parser.add_argument(
        "--replay", type=int, action="append", metavar="GUESTS",
        help="replayed guests; may be repeated, 0 for none (default: 20, 200, 1000 and 5000)",
    )  # fmt: skip
    parser.add_argument("--ticks", type=int, default=15, help="ticks measured of each (default: %(default)s)")
    parser.add_argument("--sinks", default=",".join(SINKS), help="the agent's sinks (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="say where the time of the replayed ticks goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")


def _add_store_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guests", type=int, default=200, help="made-up guests (default: %(default)s)")
    parser.add_argument("--days", type=float, default=7, help="how long they are watched (default: %(default)s)")
    parser.add_argument("--peers-guests", type=int, default=20, help="guests in other stores (default: %(default)s)")
    parser.add_argument("--peers-days", type=float, default=7, help="days in other stores (default: %(default)s)")
    parser.add_argument("--peer", choices=store.PEERS, action="append", help="may be repeated (default: four of them)")
    parser.add_argument("--quick", action="store_true", help="8 guests and 2 hours, beside VictoriaMetrics alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")


def _add_made_up(commands: Any) -> None:
    forecasting = commands.add_parser("forecast", help="projections against what came, in the past of series")
    forecasting.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="CSV files of timestamp,value")
    forecasting.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    forecasting.set_defaults(act=_forecast)
    _add_sinks_options(commands.add_parser("sinks", help="what the same ticks cost in each of the shipped sinks"))
    _add_year_options(commands.add_parser("year", help="a year of made-up guests, and what is asked of it"))
    _add_memory_options(commands.add_parser("memory", help="what the agent holds, with sqlite and prometheus"))
    _add_capacity_options(commands.add_parser("capacity", help="what each of the planner's questions costs"))
    _add_scenario_options(commands.add_parser("scenario", help="write a history of made-up hosts, to try commands on"))


def _add_sinks_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guests", type=int, default=sinks.GUESTS, help="made-up guests (default: %(default)s)")
    parser.add_argument("--hours", type=int, default=sinks.HOURS, help="hours of ticks (default: %(default)s)")
    parser.add_argument("--sink", choices=list(RIGS), action="append", help="may be repeated (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    parser.set_defaults(act=_sinks)


def _add_memory_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guests", type=int, default=memory.GUESTS, help="replayed guests (default: %(default)s)")
    parser.add_argument("--ticks", type=int, default=memory.TICKS_AFTER, help="ticks after the first sealing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    parser.set_defaults(act=_memory)


def _add_capacity_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where a scenario was written")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    parser.set_defaults(act=_capacity)


def _add_year_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guests", type=int, default=20, help="made-up guests (default: %(default)s)")
    parser.add_argument("--days", type=int, default=365, help="how long they are watched (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    parser.set_defaults(act=_year)


def _add_scenario_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=scenarios.SCENARIOS, help="what happens in it")
    parser.add_argument("folder", type=Path, help="where history.db and a domstat.toml that names it are put")
    parser.add_argument("--days", type=int, help="how long it is (default: the scenario's own)")
    parser.add_argument("--end", choices=["fixed", "now"], default="now", help="when it ends (default: %(default)s)")
    parser.add_argument("--hosts", type=int, default=10, help="hosts of a fleet (default: %(default)s)")
    parser.add_argument("--guests", type=int, default=200, help="guests of a fleet (default: %(default)s)")
    parser.add_argument("--hourly", action="store_true", help="no five minutes, for many guests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    parser.set_defaults(act=_scenario)


def _tick(arguments: argparse.Namespace) -> dict[str, Any]:
    sinks = arguments.sinks.split(",")
    real: list[tick.Figures] = []
    for count in arguments.guests or REAL_GUESTS:
        with lab.running(count) as guests:
            connection = open_connection(guests.uri_ro, readonly=True)
            head = measure.head(connection)
            stats = sum(GROUPS[group] for group in raw_loop.GROUPS_ASKED)
            recording = replay.record(connection, stats, ACTIVE | NOWAIT)
            connection.close()
            if not real:
                print(report.heading(head), flush=True)
            real.append(tick.run(guests.uri_ro, count, arguments.ticks, sinks))
    print(tick.table(real), flush=True)
    counts = filter(None, REPLAYED_GUESTS if arguments.replay is None else arguments.replay)
    replayed = [scale.run(recording, count, arguments.ticks, sinks, profile=arguments.profile) for count in counts]
    if replayed:
        print(scale.table(replayed), flush=True)
    for item in replayed:
        if item.profile is not None:
            print(scale.profile_table(item), flush=True)
    return {"head": head, "real": real, "replayed": replayed}


def _memory(arguments: argparse.Namespace) -> dict[str, Any]:
    with lab.running(REAL_GUESTS[0]) as guests:
        connection = open_connection(guests.uri_ro, readonly=True)
        head = measure.head(connection)
        recording = replay.record(connection, sum(GROUPS[group] for group in raw_loop.GROUPS_ASKED), ACTIVE | NOWAIT)
        connection.close()
    print(report.heading(head), flush=True)
    held = memory.run(recording, arguments.guests, arguments.ticks)
    print(memory.table(held), flush=True)
    return {"head": head, "memory": held}


def _peers(arguments: argparse.Namespace) -> dict[str, Any]:
    measured: list[peers.Figures] = []
    for count in arguments.guests or REAL_GUESTS:
        with lab.running(count) as guests:
            connection = open_connection(guests.uri_ro, readonly=True)
            head = measure.head(connection)
            connection.close()
            if not measured:
                print(report.heading(head), flush=True)
            measured.append(peers.run(guests, count, arguments.rounds, arguments.sinks.split(",")))
        print(peers.table(measured[-1]), flush=True)
    return {"head": head, "peers": measured}


def _plans(arguments: argparse.Namespace) -> dict[str, Any]:
    measured: list[plans.Figures] = []
    for count in arguments.guests or PLANS_GUESTS:
        with lab.running(count) as guests:
            connection = open_connection(guests.uri_ro, readonly=True)
            head = measure.head(connection)
            connection.close()
            if not measured:
                print(report.heading(head), flush=True)
            measured.append(plans.run(guests, count, arguments.rounds))
    print(plans.table(measured), flush=True)
    return {"head": head, "plans": measured}


def _hang(arguments: argparse.Namespace) -> dict[str, Any]:
    measured = []
    for collector in arguments.collector or hang.COLLECTORS:
        measured.append(hang.run(collector, arguments.seconds))
        print(hang.json_line(measured[-1]), flush=True)
    print(hang.table(measured), flush=True)
    return {"hang": measured}


def _outage(arguments: argparse.Namespace) -> dict[str, Any]:
    ways = arguments.how or outage.ALL
    measured = [outage.run(how, arguments.seconds, arguments.kills, arguments.seed) for how in ways]
    print(outage.table(measured), flush=True)
    return {"outage": measured}


def _scrape(arguments: argparse.Namespace) -> dict[str, Any]:
    measured = [scrape.run(count, arguments.rounds) for count in arguments.guests or [scrape.CPU_GUESTS]]
    print(scrape.table(measured), flush=True)
    return {"scrape": measured}


def _encode(arguments: argparse.Namespace) -> dict[str, Any]:
    measured = [encode.run(count, arguments.rounds) for count in arguments.guests or [encode.GUESTS]]
    print(encode.table(measured), flush=True)
    return {"encode": measured}


def _sinks(arguments: argparse.Namespace) -> dict[str, Any]:
    measured = sinks.run(arguments.guests, arguments.hours, arguments.sink or list(RIGS), _say)
    print(report.heading(measured.head))
    print(sinks.table(measured), flush=True)
    return {"sinks": measured}


def _store(arguments: argparse.Namespace) -> dict[str, Any]:
    plan = store.QUICK if arguments.quick else store.plan_of(
        arguments.guests, arguments.days, arguments.peers_guests, arguments.peers_days, arguments.peer
    )  # fmt: skip
    measured = store.run(plan, _say)
    print(report.heading(measured.head))
    for table in store_table.tables(measured):
        print(table, flush=True)
    return {"store": store.summary(measured)}


def _year(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="domstat-bench-") as folder:
        measured = store_year.run(arguments.guests, arguments.days, store_year.FULL_GUESTS, Path(folder), _say)
    print(report.heading(store.head()))
    for table in store_year.tables(measured):
        print(table, flush=True)
    answers = {name: answered.cpu_ns for name, answered in measured.answers.items()}
    return {"year": {"tiers": measured.tiers, "reckoned_bytes": measured.reckoned_bytes, "answers": answers}}


def _capacity(arguments: argparse.Namespace) -> dict[str, Any]:
    asked = capacity.run(arguments.folder, _say)
    print(capacity.table(asked), flush=True)
    return {"capacity": asked}


def _scenario(arguments: argparse.Namespace) -> dict[str, Any]:
    end_ms = scenarios.END_MS if arguments.end == "fixed" else int(time.time() * 1000) // HOUR_MS * HOUR_MS
    size = {"hosts": arguments.hosts, "guests": arguments.guests} if arguments.name == "fleet" else {}
    made = scenarios.named(arguments.name, end_ms, arguments.days, **size)
    world = replace(made.world, step_ms=HOUR_MS) if arguments.hourly else made.world
    try:
        written = scenario_writer.write(world, arguments.folder, _say)
    except FileExistsError as error:
        raise BenchError(str(error)) from error
    scenario_writer.write_config(arguments.folder)
    print(f"{arguments.folder}: {written.file_bytes / 1e6:.1f} MB, {written.cpu_s:.1f} s of CPU")
    for truth in made.truths:
        print(truth)
    return {"scenario": {"name": made.name, "written": written, "truths": made.truths}}


def _forecast(arguments: argparse.Namespace) -> dict[str, Any]:
    found = forecast.run(arguments.folder)
    for table in forecast.tables(found):
        print(table, flush=True)
    return {"forecast": found}


def _say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
