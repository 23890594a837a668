"""A whole platform on one machine, without Docker: a real Postgres, a local AWS, and the production template.

For developers and tests only. Nothing outside this package knows which program stands in for AWS.
Where each recipe comes from, and the trap it avoids, is said beside it.
"""
