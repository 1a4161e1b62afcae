from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.config.journal_url import is_postgresql, journal_url_problem, password_of, without_password


@pytest.mark.parametrize(
    "url",
    [
        "memory:",
        "sqlite:////data/journal.db",
        "postgresql://db.example.org/qrtx",
        "postgres://qrtx@db.example.org:5433/qrtx",
        "postgresql://qrtx:p%40ss@[::1]:5432/qrtx?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql://qrtx@one,two:5433/qrtx?target_session_attrs=read-write",
        "postgresql:///qrtx?host=/run/postgresql",
        "postgresql://%2Frun%2Fpostgresql/qrtx?options=-csearch_path%3Djobs",
        "postgresql://",
    ],
)
def test_what_names_a_journal_is_taken(url):
    assert journal_url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "jobs.db",
        "postgresql:/h/d",
        "mysql://u:secret@h/d",
        "postgresql://u:sec@ret@h/d",
        "postgresql://u:sec/ret@h/d",
        "postgresql://u:12/secret@h/d",
        "postgresql://u:12?secret@h/d",
        "postgresql://u:12?host=secret@h/d",
        "postgresql://u:12#secret@h/d",
        "postgresql://u:sec:ret@h/d",
        "postgresql://u:sec%ret@h/d",
        "postgresql://u:sec%00ret@h/d",
        "postgresql://u:sec ret@h/d",
        "postgresql://h:secret/d",
        "postgresql://h/d?password=secret",
        "postgresql://h/d?secret",
        "postgresql://h/d?sslmode=a&secret=1",
    ],
)
def test_anything_else_is_refused_and_nothing_of_it_quoted(url):
    problem = journal_url_problem(url)
    assert problem is not None
    for piece in ("sec", "ret"):
        assert piece not in problem.replace("release", "").replace("target_session_attrs", "").replace("parameters", "")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
@settings(deadline=None, derandomize=True)
def test_any_password_can_be_written_is_found_and_is_never_shown(password):
    coded = quote(password, safe="")
    url = f"postgresql://user:{coded}@host:5432/base?sslmode=require"
    assert journal_url_problem(url) is None
    assert password_of(url) == password
    assert without_password(url) == "postgresql://user:***@host:5432/base?sslmode=require"


def test_what_has_no_password_is_shown_as_it_is():
    for url in ("memory:", "sqlite:////a", "postgresql://u@h/d", "postgresql://h/d"):
        assert without_password(url) == url
        assert password_of(url) is None
    assert without_password("postgresql://u:a@b@c/d") == "postgresql://…"
    assert is_postgresql("postgres://h/d")
    assert not is_postgresql("sqlite:///a")
