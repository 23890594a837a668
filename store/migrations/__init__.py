"""The schema's history: Alembic revisions, each running its own plain `.sql` file; forward only."""

from pathlib import Path

from alembic import op


def run_sql(revision_file: str) -> None:
    """Run the `.sql` file that stands beside a revision's `.py` file.

    Args:
        revision_file: the revision's `__file__`.
    """
    statements = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    # no_parameters: the file is plain SQL, so a percent sign or a colon in it means itself.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
