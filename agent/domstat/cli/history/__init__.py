"""``domstat history``: the stored history. One module per command."""

from __future__ import annotations

import typer

from domstat.cli.history import info, listing, plot, read, snapshot, sql, verify

app = typer.Typer(help="The stored history.", no_args_is_help=True)
app.command("list")(listing.list_)
app.command("read")(read.read)
app.command("plot")(plot.plot)
app.command("sql")(sql.sql)
app.command("info")(info.info)
app.command("snapshot")(snapshot.snapshot)
app.command("verify")(verify.verify)
