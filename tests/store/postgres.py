"""A PostgreSQL database for tests: the one that QRTX_TEST_POSTGRES_URL names, in a schema of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

URL = os.environ.get("QRTX_TEST_POSTGRES_URL", "")


@contextmanager
def own_schema(url: str = URL) -> Iterator[str]:
    """The URL of an empty schema, dropped with everything in it after the block."""
    import psycopg

    name = f"test_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {name}")
    try:
        yield with_options(url, f"-csearch_path={name}")
    finally:
        # Another connection: the test may have crashed the server.
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("SET client_min_messages = error")
            db.execute(f"DROP SCHEMA {name} CASCADE")


def with_options(url: str, *options: str) -> str:
    """`url` with further command-line options of the session."""
    text = "%20".join(options).replace("=", "%3D")
    if "options=" in url:
        return f"{url}%20{text}"
    return f"{url}{'&' if '?' in url else '?'}options={text}"
