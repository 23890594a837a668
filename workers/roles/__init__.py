"""The composition roots: each role is built once from its settings, runs until a signal, and is taken down again.

A module per role of the fleet; `process` is what they have in common. Nothing else in this room knows of them but the
command line.
"""
