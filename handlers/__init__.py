"""What to do with a message: one pure `decide` per kind, the funnel around it, the one writer behind it.

May import: contracts and store.
Must not: know the broker, a clock, the environment, or psycopg.
"""
