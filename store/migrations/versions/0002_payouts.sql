-- One try to move the money of one payment. At most one is open and at most one succeeds, ever.

CREATE TABLE payout_attempts (
    attempt_id UUID PRIMARY KEY,
    payment_id UUID NOT NULL REFERENCES payments,
    attempt_no SMALLINT NOT NULL CHECK (attempt_no > 0),
    provider VARCHAR(20) NOT NULL,
    operation VARCHAR(20) NOT NULL CHECK (operation IN ('transfer', 'payment_intent', 'offline')),
    idempotency_key VARCHAR(255) NOT NULL UNIQUE,
    request_fingerprint BYTEA NOT NULL CHECK (octet_length(request_fingerprint) = 32),
    destination TEXT CHECK (length(destination) <= 255),
    amount_cents BIGINT NOT NULL CHECK (amount_cents > 0),
    currency CHAR(3) NOT NULL,
    state VARCHAR(12) NOT NULL CHECK (state IN ('ready', 'unknown', 'succeeded', 'failed')),
    failure_code VARCHAR(64),
    provider_object_id TEXT CHECK (length(provider_object_id) <= 255),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    submit_before TIMESTAMPTZ NOT NULL,
    checks SMALLINT NOT NULL DEFAULT 0 CHECK (checks >= 0), -- the number of the check that comes next
    next_check_at TIMESTAMPTZ,
    resolved_at TIMESTAMPTZ,
    UNIQUE (payment_id, attempt_no),
    UNIQUE (provider, provider_object_id),
    CHECK ((state IN ('succeeded', 'failed')) = (resolved_at IS NOT NULL)),
    CHECK (state <> 'succeeded' OR provider_object_id IS NOT NULL)
);
CREATE UNIQUE INDEX ux_attempt_open ON payout_attempts (payment_id) WHERE state IN ('ready', 'unknown');
CREATE UNIQUE INDEX ux_attempt_success ON payout_attempts (payment_id) WHERE state = 'succeeded';
CREATE INDEX idx_attempt_due ON payout_attempts (next_check_at) WHERE state IN ('ready', 'unknown');
