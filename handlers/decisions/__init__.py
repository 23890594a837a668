"""One pure `decide` per message kind, in a file that bears the kind's name.

May import: contracts, `handlers.decision` and the rules beside it.
Must not: import another decision, the store, a clock, randomness or the environment.
"""
