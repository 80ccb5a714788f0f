"""``domstat history``: the stored history. One module per command."""

from __future__ import annotations

import typer

from domstat.cli.history import export, import_, info, listing, plot, read, recover, snapshot, sql, verify

app = typer.Typer(help="The stored history.", no_args_is_help=True)
app.command("list")(listing.list_)
app.command("read")(read.read)
app.command("plot")(plot.plot)
app.command("sql")(sql.sql)
app.command("export")(export.export)
app.command("import")(import_.import_)
app.command("info")(info.info)
app.command("snapshot")(snapshot.snapshot)
app.command("verify")(verify.verify)
app.command("recover")(recover.recover)
