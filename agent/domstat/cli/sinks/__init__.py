"""``domstat sinks``: which sinks there are, what they take, and how to have one of one's own. A module a command."""

from __future__ import annotations

import typer

from domstat.cli.sinks import forget, listing, new, show, suite

app = typer.Typer(help="The sinks: which there are, what they take, and how to write one.", no_args_is_help=True)
app.command("list")(listing.list_)
app.command("show")(show.show)
app.command("new")(new.new)
app.command("test")(suite.run_suite)
app.command("forget")(forget.forget)
