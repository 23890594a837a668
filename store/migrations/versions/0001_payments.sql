-- The specification's three tables, with wider types: BIGINT minor units, TIMESTAMPTZ, NUMERIC(5,4).
-- `payments` is never partitioned by time: a partition key would enter every unique constraint below,
-- and those are what keeps a job from being paid twice.

CREATE TABLE payments (
    payment_id UUID PRIMARY KEY,
    incident_id UUID NOT NULL,
    vendor_id UUID NOT NULL,
    company_id UUID, -- absent: only admins may decide
    driver_id UUID,
    payer_type VARCHAR(20) NOT NULL CHECK (payer_type IN ('back_office', 'driver_ic')),
    payer_id UUID,
    amount_cents BIGINT NOT NULL CHECK (amount_cents BETWEEN 1 AND 99999999999),
    currency CHAR(3) NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$'),
    status VARCHAR(20) NOT NULL DEFAULT 'pending_approval' CHECK (status IN (
        'pending_approval', 'approved', 'processing', 'completed', 'failed', 'cancelled'
    )),
    source VARCHAR(20) NOT NULL CHECK (source IN ('work_completed', 'command')),
    source_key TEXT NOT NULL UNIQUE CHECK (length(source_key) <= 700),
    request_fingerprint BYTEA NOT NULL CHECK (octet_length(request_fingerprint) = 32),
    created_by UUID NOT NULL,
    fraud_score NUMERIC(5, 4) CHECK (fraud_score BETWEEN 0 AND 1),
    fraud_status VARCHAR(20) NOT NULL DEFAULT 'not_scored' CHECK (fraud_status IN (
        'not_scored', 'low_risk', 'medium_risk', 'high_risk', 'flagged', 'cleared', 'confirmed'
    )),
    approved_by UUID,
    approved_at TIMESTAMPTZ,
    processed_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    failure_code VARCHAR(64),
    failed_reason TEXT CHECK (length(failed_reason) <= 500),
    amount_reversed_cents BIGINT NOT NULL DEFAULT 0 CHECK (amount_reversed_cents >= 0),
    settlement_status VARCHAR(12) NOT NULL DEFAULT 'none' CHECK (settlement_status IN (
        'none', 'in_transit', 'paid', 'failed', 'reversed'
    )),
    policy_version INTEGER,
    on_hold BOOLEAN NOT NULL DEFAULT false,
    hold_until TIMESTAMPTZ,
    cancel_kind VARCHAR(12) CHECK (cancel_kind IN ('rejected', 'cancelled')),
    metadata JSONB NOT NULL DEFAULT '{}',
    audit_head BYTEA CHECK (octet_length(audit_head) = 32),
    version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0), -- = seq of the newest audit row
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK (amount_reversed_cents <= amount_cents),
    CHECK (status NOT IN ('approved', 'processing', 'completed')
        OR (approved_at IS NOT NULL AND (approved_by IS NOT NULL OR payer_type = 'driver_ic'))),
    CHECK (approved_by IS NULL OR approved_by <> created_by),
    CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
    CHECK (status <> 'failed' OR failure_code IS NOT NULL)
);

-- One live payment per finished job: a second event for the same work meets the first one's row.
CREATE UNIQUE INDEX ux_payments_live_work ON payments (incident_id, vendor_id)
    WHERE source = 'work_completed' AND status <> 'cancelled';
CREATE INDEX idx_payments_status ON payments (status, created_at);
CREATE INDEX idx_payments_incident ON payments (incident_id);
CREATE INDEX idx_payments_vendor ON payments (vendor_id, created_at DESC, payment_id);
CREATE INDEX idx_payments_fraud_status ON payments (fraud_status, created_at)
    WHERE fraud_status IN ('high_risk', 'flagged');
CREATE INDEX idx_payments_pending ON payments (company_id, created_at, payment_id)
    WHERE status = 'pending_approval';

CREATE TABLE payment_line_items (
    line_item_id UUID PRIMARY KEY,
    payment_id UUID NOT NULL REFERENCES payments,
    line_no SMALLINT NOT NULL CHECK (line_no > 0),
    description VARCHAR(255) NOT NULL CHECK (btrim(description) <> ''),
    quantity INTEGER NOT NULL DEFAULT 1 CHECK (quantity > 0),
    unit_price_cents BIGINT NOT NULL CHECK (unit_price_cents >= 0),
    total_cents BIGINT GENERATED ALWAYS AS (quantity * unit_price_cents) STORED,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (payment_id, line_no)
);

-- One row per version of a payment, chained by hash. No cascade: a payment with a history cannot be deleted.
CREATE TABLE payment_audit_log (
    log_id UUID PRIMARY KEY,
    payment_id UUID NOT NULL REFERENCES payments,
    seq INTEGER NOT NULL CHECK (seq > 0),
    action VARCHAR(50) NOT NULL,
    actor_id UUID NOT NULL,
    actor_type VARCHAR(20) NOT NULL CHECK (actor_type IN ('user', 'system', 'admin')),
    previous_status VARCHAR(20),
    new_status VARCHAR(20),
    message_key TEXT NOT NULL CHECK (length(message_key) <= 250),
    data JSONB NOT NULL DEFAULT '{}',
    note_digest BYTEA CHECK (octet_length(note_digest) = 32),
    hash_version SMALLINT NOT NULL DEFAULT 1,
    prev_hash BYTEA CHECK (octet_length(prev_hash) = 32),
    entry_hash BYTEA NOT NULL CHECK (octet_length(entry_hash) = 32),
    "timestamp" TIMESTAMPTZ NOT NULL,
    UNIQUE (payment_id, seq),
    CHECK ((seq = 1) = (prev_hash IS NULL))
);

-- Free text beside the chain, which holds only sha256(salt || note): erasing both leaves the chain whole.
CREATE TABLE payment_audit_notes (
    log_id UUID PRIMARY KEY REFERENCES payment_audit_log,
    salt BYTEA CHECK (octet_length(salt) = 32),
    note TEXT CHECK (length(note) <= 10000),
    redacted_at TIMESTAMPTZ,
    CHECK ((redacted_at IS NULL) = (note IS NOT NULL AND salt IS NOT NULL))
);
