"""A payment provider of our own, which behaves like Stripe over HTTP: `payments provider`.

It keeps books, honours idempotency keys, tells events, and goes wrong on demand; the unmodified SDK talks to it. It
stands alone: of the service it uses the clock and nothing else, and the service reaches it over HTTP alone. Read
`server.py` for how it is started, `api.py` for the road of a request, `books.py` for what it knows.
"""
