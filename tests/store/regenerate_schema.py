"""Write `store/schema.sql` anew: `python -m tests.store.regenerate_schema`, then read the diff.

Nothing calls this but a person who has added a revision. It runs on the Postgres of the wheel.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from store import migrate
from tests.store import golden_schema
from workers.local import postgres


def main() -> None:
    """Migrate an empty database of a Postgres of its own, and write down what came of it."""
    with tempfile.TemporaryDirectory(prefix="roadcall-schema-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # where root runs this, Postgres runs as somebody else
        server = postgres.serve(stack, folder / "home", folder / "log", say=lambda _line: None, fsync=False)
        migrate.ensure_database(server.url("postgres"), "schema")
        migrate.upgrade(server.url("schema"))
        golden_schema.SCHEMA.write_text(golden_schema.canonical(server.url("schema")))


if __name__ == "__main__":
    main()
