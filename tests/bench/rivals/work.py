"""What every rival does with a message: the same rows as ours, by a competent hand and without our tricks.

One transaction, a statement at a time, each of them a round trip; psycopg prepares them by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

#: What messages call the task and the queue. What the queue is called at SQS, only the consumers have to know.
TASK, QUEUE = "work_completed", "work"
#: Their own four tables, with the indexes and foreign keys that such a service needs.
SCHEMA = """
CREATE TABLE rival_inbox (
    message_key text PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON rival_inbox (received_at);

CREATE TABLE payments (
    payment_id uuid PRIMARY KEY,
    incident_id uuid NOT NULL,
    vendor_id uuid NOT NULL,
    company_id uuid,
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    currency char(3) NOT NULL,
    status varchar(20) NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (incident_id, vendor_id)
);
CREATE INDEX ON payments (vendor_id, created_at);
CREATE INDEX ON payments (status, created_at);
CREATE INDEX ON payments (company_id, created_at) WHERE status = 'pending_approval';

CREATE TABLE payment_line_items (
    line_item_id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments,
    line_no smallint NOT NULL,
    description varchar(255) NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_price_cents bigint NOT NULL CHECK (unit_price_cents >= 0),
    UNIQUE (payment_id, line_no)
);

CREATE TABLE payment_audit_log (
    log_id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments,
    action varchar(50) NOT NULL,
    new_status varchar(20) NOT NULL,
    message_key text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON payment_audit_log (payment_id, at);
"""
_TAKE = "INSERT INTO rival_inbox (message_key) VALUES (%s) ON CONFLICT DO NOTHING"
_PAYMENT = """
INSERT INTO payments (payment_id, incident_id, vendor_id, company_id, amount_cents, currency, status, metadata)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_LINE = """
INSERT INTO payment_line_items (line_item_id, payment_id, line_no, description, quantity, unit_price_cents)
VALUES (%s, %s, %s, %s, %s, %s)
"""
_AUDIT = """
INSERT INTO payment_audit_log (log_id, payment_id, action, new_status, message_key, data)
VALUES (%s, %s, %s, %s, %s, %s)
"""
_STATUS = "pending_approval"


def create(database_url: str) -> None:
    """Create the tables in an empty database."""
    with psycopg.connect(database_url) as connection:
        connection.execute(SCHEMA)


def open_pool(database_url: str, threads: int) -> ConnectionPool:
    """Open a pool with a connection for each thread, and wait until all of them are there."""
    pool = ConnectionPool(database_url, min_size=threads, max_size=threads, open=True)
    pool.wait()
    return pool


def handle(pool: ConnectionPool, detail: Mapping[str, Any]) -> None:
    """Make the payment for finished work, once for each event."""
    key, lines = detail["eventId"], detail["lineItems"]
    payment_id = uuid5(NAMESPACE_URL, f"payment:{detail['incidentId']}:{detail['vendorId']}")
    amount_cents = sum(line["quantity"] * line["unitPriceCents"] for line in lines)
    with pool.connection() as connection:
        if not connection.execute(_TAKE, [key]).rowcount:
            return
        connection.execute(_PAYMENT, _payment(payment_id, amount_cents, detail))
        with connection.cursor() as cursor:
            cursor.executemany(_LINE, _lines(payment_id, lines))
        data = Jsonb({"amountCents": amount_cents, "vendorId": detail["vendorId"]})
        audit = [uuid5(payment_id, "audit:1"), payment_id, "payment_created", _STATUS, key, data]
        connection.execute(_AUDIT, audit)


def _payment(payment_id: UUID, amount_cents: int, detail: Mapping[str, Any]) -> Sequence[Any]:
    return [
        payment_id,
        detail["incidentId"],
        detail["vendorId"],
        detail.get("companyId"),
        amount_cents,
        detail.get("currency", "USD"),
        _STATUS,
        Jsonb({"completedAt": detail["completedAt"], "eventId": detail["eventId"]}),
    ]


def _lines(payment_id: UUID, lines: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[Any]]:
    return [
        [
            uuid5(payment_id, f"line:{number}"),
            payment_id,
            number,
            line["description"],
            line["quantity"],
            line["unitPriceCents"],
        ]
        for number, line in enumerate(lines, start=1)
    ]
