"""The revisions, in order; each runs the plain SQL file beside it."""
