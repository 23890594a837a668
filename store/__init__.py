"""Everything that speaks SQL: pool, transaction, inbox, payments, attempts, audit, outbox, reads, migrations.

May import: contracts, psycopg, and (for migrations only) Alembic and SQLAlchemy.
Must not: take business decisions, log, read a clock (time is the database's) or the environment.
"""
