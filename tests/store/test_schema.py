"""`store/schema.sql` is what the revisions make, on every Postgres that we run on, whoever migrates."""

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from store import migrate
from tests.store import golden_schema, regenerate_schema
from workers.local import postgres

STALE = f"store/schema.sql is not what the revisions make: run `{golden_schema.COMMAND}` and read the diff"
FAULTY = f"store/schema.sql does not load as what it says: was it changed by hand? Run `{golden_schema.COMMAND}`"


@pytest.fixture
def empty_url(server: postgres.Server) -> Iterator[str]:
    """A database with nothing in it, of a cluster that has the roles."""
    name = f"schema_{uuid4().hex}"
    migrate.ensure_database(server.url("postgres"), name)
    yield server.url(name)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def plain_owner(server: postgres.Server, empty_url: str) -> Iterator[str]:
    """The same database for its owner, who is no superuser but a member of payments_owner."""
    name, database = f"migrator_{uuid4().hex}", urlsplit(empty_url).path.strip("/")
    parts = urlsplit(empty_url)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        user = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' IN ROLE payments_owner").format(user))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), user))
        yield parts._replace(netloc=f"{name}:x@{parts.netloc.rpartition('@')[2]}").geturl()
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(sql.Identifier(database)))
        connection.execute(sql.SQL("DROP ROLE {}").format(user))


def test_the_revisions_make_exactly_the_schema_that_is_committed(empty_url: str):
    migrate.upgrade(empty_url)
    assert golden_schema.canonical(empty_url) == golden_schema.SCHEMA.read_text(), STALE


def test_the_schema_loads_as_what_it_says(empty_url: str):
    golden_schema.load(empty_url, golden_schema.SCHEMA.read_text())
    assert golden_schema.dump(empty_url) == golden_schema.SCHEMA.read_text(), FAULTY


def test_the_schema_is_the_same_whoever_migrates(empty_url: str, plain_owner: str):
    migrate.upgrade(plain_owner)
    assert golden_schema.canonical(empty_url) == golden_schema.SCHEMA.read_text(), STALE


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE payments ADD COLUMN extra INTEGER",
        "CREATE INDEX idx_extra ON payments (driver_id)",
        "ALTER TABLE outbox OWNER TO postgres",
        "GRANT DELETE ON outbox TO payments_worker",
        "GRANT UPDATE (amount_cents) ON payments TO payments_worker",
        "REVOKE USAGE ON SCHEMA public FROM payments_reader",
        "ALTER TABLE payments DROP CONSTRAINT payments_amount_cents_check",
        "CREATE FUNCTION extra() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_a_change_that_no_revision_makes_shows_in_the_dump(database_url: str, change: str):
    before = golden_schema.canonical(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(change.encode())
    assert golden_schema.canonical(database_url) != before


def test_regenerating_writes_what_is_committed(tmp_path, monkeypatch):
    committed = golden_schema.SCHEMA.read_text()
    monkeypatch.setattr(golden_schema, "SCHEMA", tmp_path / "schema.sql")
    regenerate_schema.main()
    assert (tmp_path / "schema.sql").read_text() == committed, STALE


def test_only_noise_is_left_out_and_comments_inside_functions_stay():
    text = (
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped from database version 15.1\n"
        "SET lock_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n\n"
        "--\n-- Name: f(); Type: FUNCTION; Schema: public; Owner: o\n--\n\n"
        "CREATE FUNCTION public.f() RETURNS void\n    LANGUAGE plpgsql\n    AS $$\nBEGIN\n    -- why\nEND $$;\n\n\n"
        "CREATE VIEW public.v AS\n SELECT t.a,\n    t.b\n   FROM public.t;\n\n\\unrestrict abc\n"
    )
    assert golden_schema.normalised(text) == golden_schema.HEADER + (
        "CREATE FUNCTION public.f() RETURNS void\n    LANGUAGE plpgsql\n    AS $$\nBEGIN\n    -- why\nEND $$;\n\n"
        "CREATE VIEW public.v AS\n SELECT a,\n    b\n   FROM public.t;\n"
    )


def test_a_list_of_words_is_written_in_one_way_however_often_it_was_loaded():
    first = "CHECK (((kind)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))\n"
    later = "CHECK (((kind)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))\n"
    assert golden_schema.normalised(first) == golden_schema.normalised(later)
    assert "ANY (ARRAY['a'::text, 'b'::text])" in golden_schema.normalised(first)
