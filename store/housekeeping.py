"""Pruning: what has had its use is deleted, in small transactions, by the database's clock.

Several relays may prune at once. Each function deletes one batch; a batch that is not full was the last one.
"""

from datetime import timedelta

from store.db import Pool, transaction

#: Held to the end of a batch of the inbox, since payments_relay may delete a row there but not lock it: a row lock
#: takes the right to update, and what was handled is history. Whoever does not get it leaves the work to its holder.
INBOX_LOCK = 7_246_004

# now() and not clock_timestamp(): an index is not searched for what changes during the search.
_PRUNE_INBOX = """
WITH old AS (
    SELECT consumer, message_key FROM message_inbox
    WHERE received_at < now() - %(older_than)s::interval AND (SELECT pg_try_advisory_xact_lock(%(lock)s))
    ORDER BY received_at LIMIT %(limit)s
)
DELETE FROM message_inbox USING old
WHERE message_inbox.consumer = old.consumer AND message_inbox.message_key = old.message_key
RETURNING 1 AS deleted
"""
_PRUNE_OUTBOX = """
DELETE FROM outbox WHERE outbox_id = ANY (ARRAY(
    SELECT outbox_id FROM outbox WHERE published_at < now() - %(older_than)s::interval
    ORDER BY published_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
RETURNING 1 AS deleted
"""


def prune_inbox(pool: Pool, older_than: timedelta, limit: int) -> int:
    """Delete the oldest inbox rows that were received longer ago than this; return how many.

    A message whose row is gone would be handled anew, so nothing may be left that could bring it back: not its
    queue, not its dead-letter queue, and for a harmless replay not the archive of the bus either.

    Args:
        pool: as a member of payments_relay.
        older_than: the age, at least what the database insists on.
        limit: the most rows in this transaction.

    Raises:
        Transient: the database could not do it now.
        StoreFault: the database refused, for instance since a row is too young to go.
    """
    with transaction(pool) as tx:
        return len(tx.ask(_PRUNE_INBOX, {"older_than": older_than, "limit": limit, "lock": INBOX_LOCK}).value())


def prune_outbox(pool: Pool, older_than: timedelta, limit: int) -> int:
    """Delete the outbox rows that were published longest ago, longer than this; return how many.

    What is not published stays, whatever its age: it is still to be sent, or for a person to look at.

    Args:
        pool: as a member of payments_relay.
        older_than: the age, counted from the publication.
        limit: the most rows in this transaction.

    Raises:
        Transient: the database could not do it now.
        StoreFault: the database refused.
    """
    with transaction(pool) as tx:
        return len(tx.ask(_PRUNE_OUTBOX, {"older_than": older_than, "limit": limit}).value())
