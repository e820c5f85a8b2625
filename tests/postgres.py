"""A private PostgreSQL server on loopback, for tests of studies that several machines share."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

PASSWORD = "s3cret/p@ss"


def binaries() -> Path:
    """The folder of `initdb` and `pg_ctl`; the test is skipped where there is none."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").is_file():
            return folder
    found = shutil.which("initdb")
    if found is None:
        pytest.skip("PostgreSQL is not installed (no initdb)")
    return Path(found).resolve().parent


@contextmanager
def server() -> Iterator[str]:
    """Start a server with its own data directory on a free port; its URL, password included."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    folder = binaries()
    user = None
    if os.getuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    place = Path(tempfile.mkdtemp(prefix="exitnas-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (place / "password").write_text(PASSWORD)
    if user is not None:
        for path in (place, place / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)

    def call(*command: str | Path) -> None:
        identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=place, **identity)  # type: ignore[call-overload]

    data = place / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    try:
        call(folder / "initdb", "-D", data, "-U", "tuner", "-A", "scram-sha-256", "--pwfile", place / "password",
             "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip
        call(folder / "pg_ctl", "-D", data, "-l", place / "log", "-o", options, "-w", "start")
        yield f"postgresql+psycopg://tuner:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
    finally:
        if (data / "postmaster.pid").exists():
            call(folder / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(place, ignore_errors=True)
