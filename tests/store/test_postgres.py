"""What only the journal in PostgreSQL can get wrong: schemas, roles, errors, and several connections at once."""

from __future__ import annotations

import threading
import traceback
from uuid import uuid4

import psycopg
import pytest

from qrtx_ray.actors.journal import _taken_over
from qrtx_ray.errors import PersistError, StoreConflict, StoreFull
from qrtx_ray.model import JobQuery, TaskState
from qrtx_ray.store import postgres_connections
from qrtx_ray.store.open import open_store
from qrtx_ray.store.postgres import PostgresStore
from qrtx_ray.store.postgres_connections import connect
from qrtx_ray.store.postgres_errors import translated
from qrtx_ray.store.postgres_schema import install, migrations
from qrtx_ray.store.protocol import Transaction
from tests.store.building import after, change, inserting, job, job_id
from tests.store.postgres import URL, own_schema, with_options


@pytest.fixture
def url():
    with own_schema() as place:
        yield place


@pytest.fixture
def db(url):
    with connect(url) as connection:
        yield connection


@pytest.fixture
def store(url):
    opened = PostgresStore(url)
    opened.open_epoch()
    yield opened
    opened.close()


def version(db):
    return db.execute("SELECT version FROM qrtx_schema").fetchone()[0]


def tables(db):
    found = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
    return {row[0] for row in db.execute(found)}


@pytest.mark.parametrize("level", ["on", "local", "remote_apply"])
def test_commits_are_flushed_as_strictly_as_the_server_is_told(url, level):
    with connect(with_options(url, f"-csynchronous_commit={level}")) as db:
        assert db.execute("SHOW synchronous_commit").fetchone() == (level,)


def test_a_role_that_does_not_flush_is_made_to(url):
    with connect(with_options(url, "-csynchronous_commit=off")) as db:
        assert db.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_server_that_does_not_flush_at_all_is_told_in_the_log(url, monkeypatch, caplog):
    asked = postgres_connections._FOUND.replace("current_setting('fsync')", "'off'")
    monkeypatch.setattr(postgres_connections, "_FOUND", asked)
    connect(url).close()
    assert "fsync = off" in caplog.text


def test_nothing_waits_for_ever(db):
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert db.execute(f"SHOW {name}").fetchone() != ("0",)


def test_an_older_schema_is_brought_up_to_date_and_keeps_its_rows(url, db):
    install(db, migrations()[:1])
    assert version(db) == 1
    db.execute("UPDATE owner SET epoch = 7")
    store = PostgresStore(url)
    assert (store.open_epoch(), store.facts()) == (8, {})
    store.close()
    assert version(db) == len(migrations())


def test_a_migration_that_fails_leaves_the_tables_as_they_were(db):
    install(db)
    before = tables(db)
    with pytest.raises(psycopg.errors.DuplicateTable):
        install(db, [*migrations(), "CREATE TABLE extra (a INT); CREATE TABLE extra (a INT);"])
    assert (tables(db), version(db)) == (before, len(migrations()))


def test_a_schema_of_a_newer_program_is_refused(url, db):
    install(db, [*migrations(), "CREATE TABLE tomorrow (a INT)"])
    with pytest.raises(PersistError, match="newer program"):
        PostgresStore(url)


def test_another_programs_table_is_refused_and_left_alone(url, db):
    db.execute("CREATE TABLE job (title TEXT)")
    with pytest.raises(PersistError, match="another program's table 'job'"):
        PostgresStore(url)
    assert tables(db) == {"job"}


def test_tables_with_other_names_do_not_matter(url, db):
    db.execute("CREATE TABLE bookmarks (url TEXT)")
    PostgresStore(url).close()


def test_several_processes_may_install_at_once(url):
    failures = []

    def work():
        try:
            PostgresStore(url).close()
        except PersistError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_schema_that_is_not_there_is_told():
    with pytest.raises(PersistError, match="search_path"):
        PostgresStore(with_options(URL, "-csearch_path=nowhere"))


@pytest.fixture
def plain_role(url, db):
    """The URL of a role that is no superuser, and its name."""
    name, word = f"test_{uuid4().hex}", uuid4().hex
    db.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{word}'")
    schema = db.execute("SELECT current_schema()").fetchone()[0]
    db.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    target = psycopg.conninfo.conninfo_to_dict(url)
    place = f"{target['host']}:{target.get('port', 5432)}/{target['dbname']}"
    yield with_options(f"postgresql://{name}:{word}@{place}", f"-csearch_path={schema}"), name, word
    db.execute(f"DROP OWNED BY {name}")
    db.execute(f"DROP ROLE {name}")


def test_a_role_without_rights_is_told(plain_role):
    with pytest.raises(PersistError, match="InsufficientPrivilege"):
        PostgresStore(plain_role[0])


def test_tables_that_a_stranger_put_there_are_refused(db, plain_role):
    place, name, _ = plain_role
    stranger = f"test_{uuid4().hex}"
    db.execute(f"CREATE ROLE {stranger}")
    try:
        install(db)
        db.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {db.execute('SELECT current_schema()').fetchone()[0]} TO {name}")
        PostgresStore(place).close()
        db.execute(f"ALTER TABLE job OWNER TO {stranger}")
        with pytest.raises(PersistError, match="neither the schema's owner"):
            PostgresStore(place)
    finally:
        db.execute(f"REASSIGN OWNED BY {stranger} TO CURRENT_USER")
        db.execute(f"DROP ROLE {stranger}")


def test_a_database_of_another_encoding_is_refused():
    name = f"test_{uuid4().hex}"
    with psycopg.connect(URL, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        try:
            with pytest.raises(PersistError, match="UTF8"):
                PostgresStore(URL.partition("?")[0].rpartition("/")[0] + f"/{name}")
        finally:
            db.execute(f"DROP DATABASE {name}")


def test_a_refused_connection_is_explained_without_the_password(plain_role, caplog):
    caplog.set_level("DEBUG")
    place, name, word = plain_role
    wrong = f"{word}-wrong"
    with pytest.raises(PersistError, match=name) as caught:
        PostgresStore(place.replace(word, wrong))
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert word not in told.replace(place, "")
    with pytest.raises(PersistError, match="cannot be used") as caught:
        PostgresStore(f"postgresql://{name}:{word}@127.0.0.1:1/nothing")
    assert word not in "".join(traceback.format_exception(caught.value)) + caplog.text


def test_a_refused_row_is_not_quoted(store):
    words = "a tenant's own words".replace(" ", "-")  # not as they stand in a traceback's lines
    secret = job(1, name=words)
    store.commit([Transaction((secret,))])
    with pytest.raises(StoreConflict) as caught:
        store.commit([Transaction((secret,))])
    with pytest.raises(StoreConflict) as other:
        store.commit([Transaction((job(2, qpu_s=-1.0, name=words),))])
    for error in (caught.value, other.value):
        assert words not in "".join(traceback.format_exception(error))


def test_no_space_keeps_nothing_of_the_call_and_the_store_goes_on_with_space(store, db):
    db.execute("""
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.number = 3 THEN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END IF; RETURN NEW; END $$
    """)
    db.execute("CREATE TRIGGER t BEFORE INSERT ON job FOR EACH ROW EXECUTE FUNCTION full_disk()")
    store.commit([inserting(1)])
    with pytest.raises(StoreFull, match="no space"):
        store.commit([inserting(2), inserting(3)])
    assert (store.last_number(), store.last_sequence()) == (1, 1)
    db.execute("DROP TRIGGER t ON job")
    store.commit([inserting(2), inserting(3)])
    assert store.last_number() == 3


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT nothing", PersistError),
        ("SELECT 1/0", StoreConflict),
        ("INSERT INTO owner VALUES (1, 0, 0, 0, 0)", StoreConflict),
        ("SELECT pg_terminate_backend(pg_backend_pid())", PersistError),
    ],
)
def test_errors_are_told_in_our_words(store, db, statement, kind):
    with pytest.raises(PersistError) as caught, translated():
        db.execute(statement)
    assert type(caught.value) is kind


def test_texts_may_hold_what_postgresql_cannot(store):
    odd = "a\0b\\0c"
    record = job(1, device=odd, session_id=odd, idempotency_key=odd, tags=(odd,), tenant=odd)
    told = change(1, 1)
    store.commit([Transaction((record,), (told,), facts=((odd, odd),))])
    assert store.find_idempotent(odd, odd) == record
    for wanted in ({"device": odd}, {"session_id": odd}, {"tags": (odd,)}):
        assert store.query(JobQuery(odd, **wanted)).records == (record,)
    assert store.query(JobQuery(odd, tags=("a",))).total == 0
    assert store.facts() == {odd: odd}


def test_a_commit_takes_two_round_trips(store, monkeypatch):
    sent = []
    execute = psycopg.Connection.execute
    monkeypatch.setattr(
        psycopg.Connection, "execute", lambda self, *args, **kw: sent.append(args[0][:6]) or execute(self, *args, **kw)
    )
    store.commit([inserting(1), inserting(2)])
    assert sent == ["BEGIN", "UPDATE", "COMMIT"]


def test_readers_run_beside_the_writer_and_see_whole_commits(store):
    done = threading.Event()
    wrong, rounds = [], []

    def read():
        seen, last = 0, False
        while not last:
            last = done.is_set()
            page = store.query(JobQuery("alice", limit=1000))
            found = len(page.records)
            if found != page.total or found % 2 or found < seen:
                wrong.append((found, page.total, seen))
            seen = found
            rounds.append(found)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 40, 2):
        store.commit([inserting(number, number + 1)])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert max(rounds) == 40


def test_closing_waits_for_reads_under_way(store):
    store.commit([inserting(*range(1, 60))])
    started = threading.Barrier(4)
    ends = []

    def read():
        started.wait()
        try:
            while True:
                assert len(store.query(JobQuery("alice", limit=1000)).records) == 59
        except PersistError as error:
            ends.append(error.message)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    store.close()
    for thread in threads:
        thread.join()
    assert ends == ["the store is closed"] * 3


def test_of_two_schedulers_only_the_newer_one_commits(store, url):
    acknowledged, ends = [], []
    begun = threading.Event()

    def work():
        number = 0
        try:
            while True:
                number += 1
                store.commit([inserting(number)])
                acknowledged.append(number)
                begun.set()
        except StoreConflict as error:
            ends.append(error.message)

    old = threading.Thread(target=work)
    old.start()
    assert begun.wait(30)
    new = PostgresStore(url)
    epoch = new.open_epoch()
    first = new.last_number()
    new.commit([inserting(first + 1), inserting(first + 2)])
    old.join()
    assert ends == [f"a newer scheduler (epoch {epoch}) owns the store; this one has epoch {epoch - 1}"]
    assert acknowledged == list(range(1, first + 1))
    found = [record.number for record in new.live_records()]
    assert found == list(range(1, first + 3))
    new.close()


def test_a_scheduler_that_hangs_in_a_transaction_is_waited_for_and_then_ended(url, monkeypatch):
    monkeypatch.setitem(postgres_connections._SESSION, "lock_timeout", "50ms")
    monkeypatch.setitem(postgres_connections._SESSION, "idle_in_transaction_session_timeout", "300ms")
    old, new = PostgresStore(url), PostgresStore(url)
    epoch = old.open_epoch()
    old._writer.execute("BEGIN")
    old._writer.execute("UPDATE owner SET commits = commits + 1")
    refusals = []
    while not refusals or refusals[-1]:
        try:
            assert new.open_epoch() == epoch + 1
            refusals.append("")
        except PersistError as error:
            refusals.append(error.message)
    assert set(refusals[:-1]) == {"the store cannot be used (LockNotAvailable)"}
    with pytest.raises(StoreConflict, match="newer scheduler"):
        old.commit([inserting(1)])
    new.commit([inserting(1)])
    for opened in (old, new):
        opened.close()


def test_a_server_with_older_data_is_noticed(store, db):
    store.commit([inserting(1)])
    store.commit([inserting(2)])
    db.execute("DELETE FROM job WHERE number = 2")
    db.execute("UPDATE owner SET commits = commits - 1")
    for _ in range(2):
        with pytest.raises(PersistError, match="older data") as caught:
            store.commit([inserting(3)])
        assert not isinstance(caught.value, StoreConflict)
    assert store.last_number() == 1
    store.open_epoch()
    store.commit([inserting(3)])


def test_a_job_that_ends_stays_as_it_ended_across_handles(store, url):
    store.commit([inserting(1)])
    other = PostgresStore(url)
    other.open_epoch()
    ended = after(job(1), state=TaskState.CANCELLED, finished_at=5.0)
    other.commit([Transaction((ended,))])
    with pytest.raises(StoreConflict):
        store.commit([Transaction((after(job(1), state=TaskState.QUEUED),))])
    assert store.record(job_id(1)) == ended
    other.close()


def test_the_schema_itself_refuses_what_must_not_be(store, db):
    store.commit([inserting(1)])
    for wrong in ("state = 'Levitating'", "state = 'Failed'", "live = false", "program = 'oracle'", "qpu_s = 'NaN'"):
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(f"UPDATE job SET {wrong}")


def test_the_planner_can_use_the_indexes(store, db):
    db.execute("SET enable_seqscan = off")
    db.execute("SET enable_sort = off")

    def plan(statement):
        return " ".join(row[0] for row in db.execute(f"EXPLAIN {statement}"))

    assert "job_live" in plan("SELECT record FROM job WHERE live ORDER BY number")
    assert "job_by_tenant" in plan("SELECT record FROM job WHERE tenant = 'a' ORDER BY number DESC LIMIT 10 OFFSET 0")
    assert "job_idempotency" in plan("SELECT record FROM job WHERE tenant = 'a' AND idempotency_key = 'k'")
    usage = "SELECT sum(qpu_s) FROM job WHERE tenant = 'a' AND finished_at IS NOT NULL AND finished_at >= 1"
    assert "job_usage" in plan(usage)


def test_a_server_that_takes_no_writes_refuses_the_takeover_and_can_be_read(url, store):
    store.commit([inserting(1)])
    reading = with_options(url, "-cdefault_transaction_read_only=on")
    with pytest.raises(PersistError) as refused:
        _taken_over(reading)
    assert not isinstance(refused.value, StoreFull | StoreConflict)
    view = open_store(reading, read_only=True)
    try:
        assert [record.number for record in view.live_records()] == [1]
        assert view.query(JobQuery("alice")).total == 1
        for change_it in (view.open_epoch, lambda: view.commit([Transaction()])):
            with pytest.raises(PersistError, match="reading only"):
                change_it()
    finally:
        view.close()
    taken, epoch = _taken_over(url)
    assert epoch == 2
    assert taken.facts() == {}, "what was tried was taken back"
    taken.close()
