"""Certificates for tests of TLS, each signed by itself, so that its file is also the one to trust."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def make(folder: Path, name: str = "localhost", *, expired: bool = False) -> Path:
    """Make a certificate for *name* and its key, by openssl; return the file that has both."""
    file = folder / f"{name}-{expired}.pem"
    command = ["faketime", "2020-01-01"] if expired else []
    command += ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "1", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command += ["-keyout", str(file), "-out", f"{file}.certificate"]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.certificate").read_text())
    return file


def serving(file: Path) -> ssl.SSLContext:
    """Make what a server needs to show the certificate in *file*."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context
