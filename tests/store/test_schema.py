from __future__ import annotations

import sqlite3

import pytest

from qrtx_ray.errors import PersistError
from qrtx_ray.model import TERMINAL_STATES, Program, TaskState
from qrtx_ray.store.protocol import PAYLOAD_EXECUTABLE, PAYLOAD_REQUEST
from qrtx_ray.store.schema import install, migrations, schema_text


@pytest.fixture
def database():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def shape(connection):
    """The schema without comments and spacing, and what the tables hold from the start."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
    plain = []
    for kind, name, table, text in rows:
        lines = [line.partition("--")[0] for line in (text or "").splitlines()]
        plain.append((kind, name, table, "".join("".join(lines).split())))
    return plain, connection.execute("SELECT * FROM owner").fetchall()


def test_all_migrations_together_are_the_schema(database):
    install(database)
    stepwise = sqlite3.connect(":memory:", isolation_level=None)
    for count in range(1, len(migrations()) + 1):
        install(stepwise, migrations()[:count])
    assert shape(stepwise) == shape(database)
    assert database.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
    stepwise.close()


def test_the_words_in_the_schema_are_the_models(database):
    text = schema_text()
    install(database)
    for word in [*TaskState, *Program, PAYLOAD_REQUEST, PAYLOAD_EXECUTABLE]:
        assert f"'{word}'" in text
    terminal = "('Completed', 'Failed', 'Cancelled', 'Timeout')"
    assert {f"'{state}'" for state in TERMINAL_STATES} == set(terminal.strip("()").split(", "))
    assert text.count(terminal) == 2


def test_installing_twice_changes_nothing(database):
    install(database)
    before = shape(database)
    install(database)
    assert shape(database) == before


def test_an_older_file_is_brought_up_to_date_and_keeps_its_rows(database):
    install(database)
    database.execute("UPDATE owner SET epoch = 7")
    install(database, [*migrations(), "ALTER TABLE job ADD COLUMN colour TEXT;"])
    assert database.execute("PRAGMA user_version").fetchone() == (len(migrations()) + 1,)
    assert database.execute("SELECT epoch FROM owner").fetchone() == (7,)
    assert "colour" in [row[1] for row in database.execute("PRAGMA table_info(job)")]


def test_a_migration_that_fails_leaves_the_file_as_it_was(database):
    install(database)
    before = shape(database)
    with pytest.raises(sqlite3.OperationalError):
        install(database, [*migrations(), "CREATE TABLE extra (a);\nCREATE TABLE extra (a);"])
    assert shape(database) == before
    assert database.execute("PRAGMA user_version").fetchone() == (len(migrations()),)


def test_a_file_of_a_newer_program_is_refused(database):
    install(database, [*migrations(), "CREATE TABLE tomorrow (a);"])
    with pytest.raises(PersistError, match="newer program"):
        install(database)


def test_another_programs_database_is_refused(database):
    database.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(PersistError, match="another program"):
        install(database)
