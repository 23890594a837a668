"""The contracts as others read them: a JSON Schema per message and one AsyncAPI document, made from the models.

Nothing here is written by hand twice: names, types, limits and descriptions are those of `contracts/inbound.py` and
`contracts/outbound.py`. `python -m tests.contracts.regenerate` writes the files under `contracts/schemas/`.
"""
