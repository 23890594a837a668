-- Payouts that are looked after until they are over: further attempts for a payment that is being processed, where vendors
-- are paid, what came back, how far the money has come, and what the sweep has posted.

SET LOCAL ROLE payments_owner;

-- Where a vendor is paid, by our own word. Another account than before waits for the end of a cool-down.
CREATE TABLE vendor_accounts (
    vendor_id UUID PRIMARY KEY,
    account_id TEXT NOT NULL CHECK (account_id ~ '^acct_[A-Za-z0-9]{1,250}$'),
    payouts_enabled BOOLEAN NOT NULL,
    requirements TEXT[] NOT NULL CHECK (cardinality(requirements) <= 50), -- what the provider still asks for, by name
    as_of TIMESTAMPTZ NOT NULL, -- when it was said, by the queue's clock
    held_until TIMESTAMPTZ,
    changed_at TIMESTAMPTZ NOT NULL,
    message_key TEXT NOT NULL CHECK (length(message_key) <= 250)
);

-- Money that came back to our account with the provider, by the provider's own ids.
CREATE TABLE payout_reversals (
    provider VARCHAR(20) NOT NULL,
    reversal_id TEXT NOT NULL CHECK (length(reversal_id) <= 255),
    payment_id UUID NOT NULL REFERENCES payments,
    attempt_id UUID NOT NULL REFERENCES payout_attempts,
    amount_cents BIGINT NOT NULL CHECK (amount_cents > 0),
    recorded_at TIMESTAMPTZ NOT NULL,
    message_key TEXT NOT NULL CHECK (length(message_key) <= 250),
    PRIMARY KEY (provider, reversal_id)
);
CREATE INDEX idx_reversals_payment ON payout_reversals (payment_id);

-- When the sweep has last posted an order about an attempt or a payment.
CREATE TABLE swept (
    subject_id UUID PRIMARY KEY,
    posted_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX idx_swept_at ON swept (posted_at);

-- An operator asks for a look at an attempt, whatever its state; the sweep orders it.
CREATE TABLE reconcile_requests (
    request_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attempt_id UUID NOT NULL REFERENCES payout_attempts,
    requested_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    requested_by TEXT NOT NULL DEFAULT session_user,
    posted_at TIMESTAMPTZ
);
CREATE INDEX idx_requests_unposted ON reconcile_requests (request_id) WHERE posted_at IS NULL;

-- How often the service's own order to pay was refused: the key of the next one is derived from it.
CREATE INDEX idx_inbox_refused_payouts ON message_inbox (payment_id, received_at)
    WHERE consumer = 'ProcessPayment' AND outcome = 'refused';

-- Guards --------------------------------------------------------------------------------------------------------------

CREATE TRIGGER vendor_accounts_onward BEFORE UPDATE ON vendor_accounts FOR EACH ROW
    WHEN (NEW.vendor_id <> OLD.vendor_id OR NEW.as_of < OLD.as_of)
    EXECUTE FUNCTION guard_refuse('an earlier word about an account counts for nothing');

CREATE TRIGGER vendor_accounts_cool_down BEFORE UPDATE ON vendor_accounts FOR EACH ROW
    WHEN (
        (NEW.account_id <> OLD.account_id AND (NEW.held_until IS NULL OR NEW.held_until < NEW.changed_at))
        OR (OLD.held_until IS NOT NULL AND (NEW.held_until IS NULL OR NEW.held_until < OLD.held_until))
    )
    EXECUTE FUNCTION guard_refuse('another account waits for the end of a cool-down, which nothing shortens', 'vendor_id');

CREATE TRIGGER vendor_accounts_kept BEFORE DELETE OR TRUNCATE ON vendor_accounts FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('accounts are disabled, never deleted');

CREATE TRIGGER payout_reversals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payout_reversals
    FOR EACH STATEMENT EXECUTE FUNCTION guard_refuse('what came back never changes');

CREATE TRIGGER reconcile_requests_kept BEFORE DELETE OR TRUNCATE ON reconcile_requests
    FOR EACH STATEMENT EXECUTE FUNCTION guard_refuse('who asked for a look is kept');

-- The twin of MOVES and RECORDS in contracts/lifecycle.py, now with what follows on a completed payment.
DROP TRIGGER payments_moves ON payments;
CREATE TRIGGER payments_moves BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (((OLD.status, NEW.status) IN (
        ('pending_approval', 'pending_approval'),
        ('pending_approval', 'approved'),
        ('pending_approval', 'cancelled'),
        ('approved', 'approved'),
        ('approved', 'cancelled'),
        ('approved', 'processing'),
        ('processing', 'processing'),
        ('processing', 'completed'),
        ('processing', 'failed'),
        ('completed', 'completed'),
        ('failed', 'processing')
    )) IS NOT TRUE)
    EXECUTE FUNCTION guard_refuse('the lifecycle has no such move', 'payment_id', 'status');

-- What is completed stays as it is, but for what came back and how far the money has come; neither is ever less.
CREATE TRIGGER payments_after_completion BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (
        (
            OLD.status = 'completed' AND (
                OLD.approved_by, OLD.approved_at, OLD.processed_at, OLD.completed_at, OLD.failure_code, OLD.failed_reason,
                OLD.on_hold, OLD.hold_until
            ) IS DISTINCT FROM (
                NEW.approved_by, NEW.approved_at, NEW.processed_at, NEW.completed_at, NEW.failure_code, NEW.failed_reason,
                NEW.on_hold, NEW.hold_until
            )
        )
        OR (
            (OLD.status <> 'completed' OR NEW.status <> 'completed')
            AND (OLD.amount_reversed_cents, OLD.settlement_status)
                IS DISTINCT FROM (NEW.amount_reversed_cents, NEW.settlement_status)
        )
        OR NEW.amount_reversed_cents < OLD.amount_reversed_cents
        OR array_position('{none,in_transit,paid,failed,reversed}', NEW.settlement_status::text)
            < array_position('{none,in_transit,paid,failed,reversed}', OLD.settlement_status::text)
    )
    EXECUTE FUNCTION guard_refuse('of a completed payment only reversals and settlement go on', 'payment_id', 'status');

DROP TRIGGER payment_audit_log_action ON payment_audit_log;
CREATE TRIGGER payment_audit_log_action BEFORE INSERT ON payment_audit_log FOR EACH ROW
    WHEN (((coalesce(NEW.previous_status, 'nothing'), NEW.action, NEW.new_status) IN (
        ('nothing', 'created', 'pending_approval'),
        ('pending_approval', 'approval_recorded', 'pending_approval'),
        ('pending_approval', 'held', 'pending_approval'),
        ('pending_approval', 'hold_released', 'pending_approval'),
        ('pending_approval', 'approved', 'approved'),
        ('pending_approval', 'rejected', 'cancelled'),
        ('pending_approval', 'cancelled', 'cancelled'),
        ('approved', 'held', 'approved'),
        ('approved', 'hold_released', 'approved'),
        ('approved', 'cancelled', 'cancelled'),
        ('approved', 'processing_started', 'processing'),
        ('processing', 'payout_unknown', 'processing'),
        ('processing', 'attempt_failed', 'processing'),
        ('processing', 'attempt_opened', 'processing'),
        ('processing', 'payout_succeeded', 'completed'),
        ('processing', 'payout_failed', 'failed'),
        ('completed', 'reversed', 'completed'),
        ('completed', 'settlement_changed', 'completed'),
        ('failed', 'retried', 'processing')
    )) IS NOT TRUE)
    EXECUTE FUNCTION guard_refuse(
        'the lifecycle has no such event', 'payment_id', 'previous_status', 'action', 'new_status'
    );

-- What came back is itemised; the payment, which is written first, and its reversals say the same.
CREATE FUNCTION guard_reversed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.payments AS payment
    WHERE payment.payment_id = NEW.payment_id AND payment.amount_reversed_cents = (
        SELECT coalesce(sum(reversal.amount_cents), 0)
        FROM public.payout_reversals AS reversal JOIN public.payout_attempts AS attempt USING (attempt_id)
        WHERE attempt.payment_id = NEW.payment_id AND reversal.payment_id = NEW.payment_id
    );
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'what came back of a payment is the sum of its reversals',
            DETAIL = format('payment_id %s', NEW.payment_id);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER payment_audit_log_reversed BEFORE INSERT ON payment_audit_log FOR EACH ROW
    WHEN (NEW.action IN ('reversed', 'settlement_changed'))
    EXECUTE FUNCTION guard_reversed();

-- As revision 0006 made it, but that a payment may be processed while no attempt is open: the last one came to nothing,
-- and the next one follows.
CREATE OR REPLACE FUNCTION guard_payment_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The status as it is now: a later change of the same transaction may have moved on.
    PERFORM FROM public.payments AS payment
    CROSS JOIN LATERAL (
        SELECT
            count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
            count(*) FILTER (WHERE state = 'failed') AS failed,
            count(*) FILTER (WHERE state IN ('ready', 'unknown')) AS open
        FROM public.payout_attempts WHERE payment_id = payment.payment_id
    ) AS attempts
    WHERE payment.payment_id = NEW.payment_id AND NOT CASE payment.status
        WHEN 'processing' THEN attempts.succeeded = 0 AND attempts.open <= 1 AND attempts.open + attempts.failed > 0
        WHEN 'completed' THEN attempts.succeeded = 1 AND attempts.open = 0
        WHEN 'failed' THEN attempts.failed > 0 AND attempts.succeeded + attempts.open = 0
        ELSE true
    END;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'a payment is processed with an attempt, and completed or failed with one that says so',
            DETAIL = format('payment_id %s, status %s', NEW.payment_id, NEW.status);
    END IF;
    RETURN NULL;
END $$;

-- As revision 0006 made it, but for two things: an attempt that came to nothing may leave its payment in processing, and
-- the destination of a new one is the vendor's registered account, if that may be paid now. Without a registered account
-- it is the vendor's own id, which no provider but the sandbox takes.
CREATE OR REPLACE FUNCTION guard_attempt_agrees() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment RECORD;
    account RECORD;
BEGIN
    SELECT status, amount_cents, currency, vendor_id INTO payment
    FROM public.payments WHERE payment_id = NEW.payment_id FOR NO KEY UPDATE;
    SELECT account_id, payouts_enabled AND (held_until IS NULL OR held_until <= clock_timestamp()) AS payable
    INTO account FROM public.vendor_accounts WHERE vendor_id = payment.vendor_id;
    IF (NEW.amount_cents, NEW.currency) IS DISTINCT FROM (payment.amount_cents, payment.currency)
        OR (TG_OP = 'INSERT' AND (
            NEW.destination IS DISTINCT FROM coalesce(account.account_id, payment.vendor_id::text)
            OR account.payable IS FALSE
            OR (account.account_id IS NULL AND NEW.provider <> 'sandbox')
            OR NEW.submit_before > clock_timestamp() + interval '1 day' -- a provider forgets its key after that
            OR NEW.attempt_no <> 1 + (
                SELECT coalesce(max(attempt_no), 0) FROM public.payout_attempts WHERE payment_id = NEW.payment_id
            )
        ))
        OR ((NEW.state, payment.status) IN (
            ('ready', 'processing'),
            ('unknown', 'processing'),
            ('succeeded', 'completed'),
            ('failed', 'processing'),
            ('failed', 'failed')
        )) IS NOT TRUE
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'an attempt is its payment''s next, with its amount, currency and the vendor''s account, for a day '
                'at most, and in a state that goes with its status',
            DETAIL = format('attempt_id %s, state %s, payment %s', NEW.attempt_id, NEW.state, payment.status);
    END IF;
    RETURN NEW;
END $$;

-- Grants --------------------------------------------------------------------------------------------------------------

GRANT UPDATE (amount_reversed_cents, settlement_status) ON payments TO payments_worker;
GRANT SELECT, INSERT, UPDATE (
    account_id, payouts_enabled, requirements, as_of, held_until, changed_at, message_key
) ON vendor_accounts TO payments_worker;
GRANT SELECT, INSERT ON payout_reversals TO payments_worker;
GRANT SELECT ON vendor_accounts, payout_reversals TO payments_monitor;

-- The sweep reads what is due, and writes nothing but that it has posted an order.
GRANT SELECT (
    payment_id, vendor_id, status, version, payer_type, separate_releaser, fraud_status, on_hold, hold_until, created_at,
    updated_at
) ON payments TO payments_relay;
CREATE POLICY payments_swept ON payments FOR SELECT TO payments_relay USING (true);
GRANT SELECT (attempt_id, payment_id, attempt_no, checks, next_check_at, resolved_at) ON payout_attempts
    TO payments_relay;
GRANT SELECT (vendor_id, payouts_enabled, held_until) ON vendor_accounts TO payments_relay;
GRANT SELECT (outcome, outcome_code, payment_id) ON message_inbox TO payments_relay;
GRANT SELECT, INSERT, UPDATE (posted_at), DELETE ON swept TO payments_relay;

-- `payments reconcile`: an operator asks, and changes nothing.
GRANT SELECT, INSERT (attempt_id) ON reconcile_requests TO payments_monitor;
GRANT SELECT, UPDATE (posted_at) ON reconcile_requests TO payments_relay;

RESET ROLE;
