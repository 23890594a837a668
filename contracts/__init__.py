"""The words we agree on: messages, lifecycle, money, ids, refusal codes.

May import: pydantic and the standard library's pure parts.
Must not: read a clock or the environment, do any I/O, import another room.
"""
