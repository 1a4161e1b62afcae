"""What `storage.journal_url` may be, judged by its text alone: a database URL may hold a password, so no part of a wrong
one is ever quoted, and the strict form makes sure that no library takes a piece of the password for something else.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["POSTGRESQL", "is_postgresql", "journal_url_problem", "password_of", "without_password"]

POSTGRESQL = ("postgresql://", "postgres://")

#: Connection parameters of libpq that may stand in the query of a URL. The password may not: it is looked for elsewhere.
PARAMETERS = (
    "host",
    "port",
    "options",
    "application_name",
    "connect_timeout",
    "passfile",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "channel_binding",
    "gssencmode",
    "target_session_attrs",
)

_PART = r"(?:[^\s:@/?#&=%]|%[0-9A-Fa-f]{2})"
_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|{_PART}*)(?::[0-9]{{1,5}})?"
_ITEM = r"[a-z_]+=(?:[^\s@?#&=%]|%[0-9A-Fa-f]{2})*"
_URL = re.compile(
    rf"postgres(?:ql)?://"
    rf"(?:(?P<user>{_PART}+)(?::(?P<password>{_PART}*))?@)?"
    rf"{_HOST}(?:,{_HOST})*"
    rf"(?:/{_PART}*)?"
    rf"(?:\?(?P<query>{_ITEM}(?:&{_ITEM})*))?\Z"
)


def is_postgresql(url: str) -> bool:
    """Whether `url` asks for a PostgreSQL server."""
    return url.startswith(POSTGRESQL)


def journal_url_problem(url: str) -> str | None:
    """Why `url` cannot name a journal, as the end of a sentence that quotes nothing of it; None when it can."""
    if url.startswith(("sqlite:///", "memory:")):
        return None
    if not is_postgresql(url):
        return (
            "not a store of this release; write sqlite:///<absolute path>, "
            "postgresql://<user>@<host>/<database> or memory:"
        )
    match = _URL.match(url)
    if match is None or "%00" in url:
        return (
            "not a PostgreSQL URL; write postgresql://<user>:<password>@<host>:<port>/<database>?<parameters> "
            "with every special character of a part percent-encoded"
        )
    keys = [item.partition("=")[0] for item in (match["query"] or "").split("&") if item]
    if any(key not in PARAMETERS for key in keys):
        return f"a PostgreSQL URL with an unknown parameter; known ones: {', '.join(PARAMETERS)}"
    return None


def password_of(url: str) -> str | None:
    """The password in a PostgreSQL URL, if there is one."""
    match = _URL.match(url)
    return unquote(match["password"]) if match is not None and match["password"] else None


def without_password(url: str) -> str:
    """`url` as it may be shown and logged."""
    if not is_postgresql(url):
        return url
    match = _URL.match(url)
    if match is None:
        return "postgresql://…"
    if not match["password"]:
        return url
    start, end = match.span("password")
    return f"{url[:start]}***{url[end:]}"
