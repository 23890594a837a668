-- What came in, what goes out, and what could not be handled.

-- A row here is a message's effect or its refusal; a duplicate, retry, invalid or fault leaves none.
-- The claim inserts 'applied' as the first statement of the transaction; the writer corrects it.
CREATE TABLE message_inbox (
    consumer TEXT NOT NULL CHECK (length(consumer) <= 64), -- the message kind
    message_key TEXT NOT NULL CHECK (length(message_key) <= 250),
    fingerprint BYTEA NOT NULL CHECK (octet_length(fingerprint) = 32),
    outcome VARCHAR(20) NOT NULL CHECK (outcome IN ('applied', 'ignored', 'refused')),
    outcome_code VARCHAR(64),
    payment_id UUID,
    received_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_key)
);
CREATE INDEX idx_inbox_received ON message_inbox (received_at);
CREATE INDEX idx_inbox_payment ON message_inbox (payment_id) WHERE payment_id IS NOT NULL;

CREATE TABLE outbox (
    outbox_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id UUID NOT NULL UNIQUE,
    aggregate_id UUID NOT NULL, -- the payment; for news without one the incident
    aggregate_seq INTEGER NOT NULL CHECK (aggregate_seq >= 0), -- the payment's version; 0: no change of it
    destination TEXT NOT NULL CHECK (destination IN ('bus', 'approvals', 'payouts')),
    detail_type TEXT NOT NULL CHECK (length(detail_type) <= 64),
    payload JSONB NOT NULL,
    available_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    attempts SMALLINT NOT NULL DEFAULT 0,
    published_at TIMESTAMPTZ,
    bus_event_id TEXT CHECK (length(bus_event_id) <= 255), -- what the receiver called it
    failed_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK (published_at IS NULL OR failed_at IS NULL)
);
CREATE INDEX idx_outbox_due ON outbox (available_at, outbox_id) WHERE published_at IS NULL AND failed_at IS NULL;
CREATE INDEX idx_outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;
CREATE INDEX idx_outbox_aggregate ON outbox (aggregate_id, aggregate_seq);

-- One row per SQS message that is malformed, met a fault, or is about to run out of receives. The body stays in the queue or its DLQ; here are
-- its size and digest, and where it breaks its schema in our own words.
CREATE TABLE message_failures (
    failure_id UUID PRIMARY KEY,
    queue TEXT NOT NULL CHECK (length(queue) <= 128),
    sqs_message_id TEXT NOT NULL CHECK (length(sqs_message_id) <= 128),
    kind TEXT CHECK (length(kind) <= 64),
    message_key TEXT NOT NULL CHECK (length(message_key) <= 250),
    outcome VARCHAR(20) NOT NULL CHECK (outcome IN ('invalid', 'fault', 'retry')), -- retry: on its last receives
    reason VARCHAR(64) NOT NULL,
    detail TEXT CHECK (length(detail) <= 2000),
    body_bytes INTEGER NOT NULL CHECK (body_bytes >= 0),
    body_digest BYTEA NOT NULL CHECK (octet_length(body_digest) = 32),
    attempts INTEGER NOT NULL DEFAULT 1 CHECK (attempts > 0), -- true attempts, not receives
    first_sent_at TIMESTAMPTZ NOT NULL,
    first_failed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_failed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (queue, sqs_message_id)
);
CREATE INDEX idx_failures_recent ON message_failures (last_failed_at DESC);
