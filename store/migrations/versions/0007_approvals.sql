-- What it takes to approve a payment, who has approved it, and what stops it for a while.

SET LOCAL ROLE payments_owner;

-- One row per version of a company's policy; none ever changes, and payments keep the one that they were created under.
CREATE TABLE approval_policies (
    company_id UUID NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    tiers JSONB NOT NULL CHECK (jsonb_typeof(tiers) = 'array' AND jsonb_array_length(tiers) BETWEEN 1 AND 50),
    separate_releaser BOOLEAN NOT NULL,
    created_by UUID NOT NULL,
    message_key TEXT NOT NULL CHECK (length(message_key) <= 250),
    as_of TIMESTAMPTZ NOT NULL, -- when it was asked for, by the queue's clock
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (company_id, version)
);

-- What the policy's tier asks for is frozen on the payment: neither code nor constraint has to look it up again.
ALTER TABLE payments
    ADD COLUMN required_approvals SMALLINT NOT NULL DEFAULT 1 CHECK (required_approvals BETWEEN 1 AND 5),
    ADD COLUMN approver_roles TEXT[] NOT NULL DEFAULT '{dispatcher,admin}' CHECK (
        approver_roles <@ '{dispatcher,admin}' AND cardinality(approver_roles) > 0
    ),
    ADD COLUMN separate_releaser BOOLEAN NOT NULL DEFAULT false,
    ADD CONSTRAINT payments_policy_fkey FOREIGN KEY (company_id, policy_version) REFERENCES approval_policies,
    ADD CONSTRAINT payments_policy_of_company CHECK (policy_version IS NULL OR company_id IS NOT NULL),
    ADD CONSTRAINT payments_hold_ends CHECK (hold_until IS NULL OR on_hold),
    ADD CONSTRAINT payments_pending_unapproved CHECK (
        status <> 'pending_approval' OR num_nonnulls(approved_by, approved_at) = 0
    );

-- One approval by one person; `level` counts them. The key is why a person counts once.
CREATE TABLE payment_approvals (
    payment_id UUID NOT NULL REFERENCES payments,
    approver_id UUID NOT NULL,
    level SMALLINT NOT NULL CHECK (level > 0),
    role TEXT NOT NULL,
    message_key TEXT NOT NULL CHECK (length(message_key) <= 250),
    approved_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (payment_id, approver_id),
    UNIQUE (payment_id, level)
);

-- Guards --------------------------------------------------------------------------------------------------------------

CREATE TRIGGER approval_policies_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON approval_policies
    FOR EACH STATEMENT EXECUTE FUNCTION guard_refuse('a policy never changes: set a new version');

CREATE FUNCTION guard_policy_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version <> 1 + (
        SELECT coalesce(max(version), 0) FROM public.approval_policies WHERE company_id = NEW.company_id
    ) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'the versions of a company''s policy have no gap',
            DETAIL = format('company_id %s, version %s', NEW.company_id, NEW.version);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER approval_policies_in_order BEFORE INSERT ON approval_policies FOR EACH ROW
    EXECUTE FUNCTION guard_policy_version();

CREATE TRIGGER payment_approvals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_approvals
    FOR EACH STATEMENT EXECUTE FUNCTION guard_refuse('an approval is never changed or taken back');

-- Four eyes, and no more approvals than it takes; the payment is written first.
CREATE FUNCTION guard_payment_approval() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment RECORD;
    flaw TEXT;
BEGIN
    SELECT status, created_by, vendor_id, approved_by, required_approvals, approver_roles, updated_at INTO payment
    FROM public.payments WHERE payment_id = NEW.payment_id FOR NO KEY UPDATE;
    flaw := CASE
        WHEN NEW.approver_id IN (payment.created_by, payment.vendor_id)
            THEN 'nobody approves what they created or are paid by'
        WHEN NEW.role <> ALL (payment.approver_roles)
            THEN 'the policy asks for another role'
        WHEN NEW.level <> 1 + (SELECT count(*) FROM public.payment_approvals WHERE payment_id = NEW.payment_id)
            THEN 'it is not the next level'
        WHEN NEW.approved_at IS DISTINCT FROM payment.updated_at
            THEN 'the payment was changed at another time'
        WHEN NEW.level > payment.required_approvals
            THEN 'it takes no more approvals'
        WHEN NEW.level < payment.required_approvals AND payment.status <> 'pending_approval'
            THEN 'the payment has left approval before the last one'
        WHEN NEW.level = payment.required_approvals
            AND (payment.status, payment.approved_by) IS DISTINCT FROM ('approved', NEW.approver_id)
            THEN 'the last approval approves the payment'
    END;
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = format('an approval counts only as the policy says: %s', flaw),
            DETAIL = format('payment_id %s, level %s', NEW.payment_id, NEW.level);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER payment_approvals_count BEFORE INSERT ON payment_approvals FOR EACH ROW
    EXECUTE FUNCTION guard_payment_approval();

-- At COMMIT: an approved payment has every approval that it takes; the system approves only for payers that need none.
CREATE FUNCTION guard_payment_approved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.approved_by IS NULL AND NEW.payer_type = 'driver_ic' THEN
        RETURN NULL;
    END IF;
    IF NEW.required_approvals <> (SELECT count(*) FROM public.payment_approvals WHERE payment_id = NEW.payment_id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'a payment is approved by as many persons as its policy asks for',
            DETAIL = format('payment_id %s, required %s', NEW.payment_id, NEW.required_approvals);
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER payments_approved AFTER UPDATE ON payments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.status = 'pending_approval' AND NEW.status = 'approved')
    EXECUTE FUNCTION guard_payment_approved();

-- The twin of MOVES and RECORDS in contracts/lifecycle.py, now with the changes that keep the status.
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
        ('failed', 'processing')
    )) IS NOT TRUE)
    EXECUTE FUNCTION guard_refuse('the lifecycle has no such move', 'payment_id', 'status');

-- An approval that is recorded and a hold change nothing else of a payment.
CREATE TRIGGER payments_kept_as_they_are BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (
        OLD.status = NEW.status AND OLD.status IN ('pending_approval', 'approved') AND (
            OLD.approved_by, OLD.approved_at, OLD.processed_at, OLD.completed_at, OLD.failure_code, OLD.failed_reason
        ) IS DISTINCT FROM (
            NEW.approved_by, NEW.approved_at, NEW.processed_at, NEW.completed_at, NEW.failure_code, NEW.failed_reason
        )
    )
    EXECUTE FUNCTION guard_refuse('a payment that stays where it is only gathers approvals or is held', 'payment_id');

-- A hold without an end, or before it, is lifted by nothing but its release.
DROP TRIGGER payments_unblocked ON payments;
CREATE TRIGGER payments_unblocked BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (
        NEW.status IN ('approved', 'processing') AND OLD.status <> NEW.status
        AND (
            NEW.on_hold OR NEW.fraud_status IN ('flagged', 'confirmed')
            OR (OLD.on_hold AND (OLD.hold_until IS NULL OR OLD.hold_until > clock_timestamp()))
        )
    )
    EXECUTE FUNCTION guard_refuse('the payment is held or flagged', 'payment_id', 'status', 'fraud_status');

DROP TRIGGER payments_frozen ON payments;
CREATE TRIGGER payments_frozen
    BEFORE UPDATE OF
        payment_id, incident_id, vendor_id, company_id, driver_id, payer_type, payer_id, amount_cents, currency, source,
        source_key, request_fingerprint, created_by, created_at, metadata, policy_version, required_approvals,
        approver_roles, separate_releaser
    ON payments FOR EACH ROW
    WHEN (
        (
            OLD.payment_id, OLD.incident_id, OLD.vendor_id, OLD.company_id, OLD.driver_id, OLD.payer_type, OLD.payer_id,
            OLD.amount_cents, OLD.currency, OLD.source, OLD.source_key, OLD.request_fingerprint, OLD.created_by,
            OLD.created_at, OLD.metadata, OLD.policy_version, OLD.required_approvals, OLD.approver_roles,
            OLD.separate_releaser
        ) IS DISTINCT FROM (
            NEW.payment_id, NEW.incident_id, NEW.vendor_id, NEW.company_id, NEW.driver_id, NEW.payer_type, NEW.payer_id,
            NEW.amount_cents, NEW.currency, NEW.source, NEW.source_key, NEW.request_fingerprint, NEW.created_by,
            NEW.created_at, NEW.metadata, NEW.policy_version, NEW.required_approvals, NEW.approver_roles,
            NEW.separate_releaser
        )
    )
    EXECUTE FUNCTION guard_refuse('what was asked to be paid, to whom and by whom, never changes', 'payment_id');

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
        ('processing', 'payout_succeeded', 'completed'),
        ('processing', 'payout_failed', 'failed'),
        ('failed', 'retried', 'processing')
    )) IS NOT TRUE)
    EXECUTE FUNCTION guard_refuse(
        'the lifecycle has no such event', 'payment_id', 'previous_status', 'action', 'new_status'
    );

-- As revision 0006 made it, and beside that: approvals, holds and releases are explained by who did them.
CREATE OR REPLACE FUNCTION guard_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment RECORD;
    last RECORD;
    flaw TEXT;
BEGIN
    SELECT
        version, audit_head, status, updated_at, created_by, approved_by, cancel_kind, amount_cents, on_hold, vendor_id,
        separate_releaser
    INTO payment
    FROM public.payments WHERE payment_id = NEW.payment_id FOR NO KEY UPDATE;
    SELECT seq, entry_hash, new_status, "timestamp" INTO last
    FROM public.payment_audit_log WHERE payment_id = NEW.payment_id ORDER BY seq DESC LIMIT 1;
    flaw := CASE
        WHEN (NEW.seq, NEW.prev_hash, NEW.previous_status)
            IS DISTINCT FROM (coalesce(last.seq, 0) + 1, last.entry_hash, last.new_status)
            THEN 'it does not follow the last row of its payment'
        WHEN (NEW.seq, NEW.entry_hash, NEW.new_status)
            IS DISTINCT FROM (payment.version, payment.audit_head, payment.status)
            THEN 'the payment has another version, hash or status'
        WHEN NEW."timestamp" IS DISTINCT FROM payment.updated_at
            THEN 'the payment was changed at another time'
        WHEN NEW."timestamp" NOT BETWEEN coalesce(last."timestamp", '-infinity') - interval '5 minutes'
            AND clock_timestamp() + interval '5 minutes'
            THEN 'it is not the time for it'
        WHEN NEW.action = 'created' AND NEW.actor_id <> payment.created_by
            THEN 'somebody else created the payment'
        -- Here too, since a deferred check can be brought forward, and no line can be added after this row.
        WHEN NEW.action = 'created' AND payment.amount_cents IS DISTINCT FROM (
            SELECT sum(total_cents) FROM public.payment_line_items WHERE payment_id = NEW.payment_id
        )
            THEN 'its lines do not sum to its amount'
        -- Nobody's approval is the system's, for payers that need none.
        WHEN NEW.action = 'approved' AND NEW.actor_id IS DISTINCT FROM payment.approved_by
            AND (payment.approved_by IS NOT NULL OR NEW.actor_type <> 'system')
            THEN 'somebody else approved the payment'
        WHEN NEW.action IN ('approved', 'approval_recorded') AND NEW.actor_type <> 'system' AND NOT EXISTS (
            SELECT FROM public.payment_approvals
            WHERE payment_id = NEW.payment_id AND approver_id = NEW.actor_id AND approved_at = NEW."timestamp"
        )
            THEN 'the approval itself is missing'
        WHEN NEW.action = 'approval_recorded' AND NEW.actor_type = 'system'
            THEN 'only persons approve by steps'
        WHEN NEW.action IN ('held', 'hold_released') AND payment.on_hold IS DISTINCT FROM (NEW.action = 'held')
            THEN 'the payment is not held as it says'
        WHEN NEW.action = 'processing_started' AND payment.separate_releaser AND (
            NEW.actor_type = 'system' OR NEW.actor_id = payment.vendor_id OR EXISTS (
                SELECT FROM public.payment_approvals
                WHERE payment_id = NEW.payment_id AND approver_id = NEW.actor_id
            )
        )
            THEN 'the policy asks for a releaser who has not approved'
        WHEN NEW.action IN ('rejected', 'cancelled') AND NEW.action IS DISTINCT FROM payment.cancel_kind
            THEN 'the payment ended the other way'
    END;
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = format('an audit row explains what its payment is now: %s', flaw),
            DETAIL = format('payment_id %s, action %s', NEW.payment_id, NEW.action);
    END IF;
    RETURN NEW;
END $$;

-- Grants --------------------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT ON approval_policies, payment_approvals TO payments_worker;
GRANT INSERT (policy_version, required_approvals, approver_roles, separate_releaser), UPDATE (hold_until) ON payments
    TO payments_worker;
GRANT SELECT ON payment_approvals TO payments_reader;
GRANT SELECT ON approval_policies, payment_approvals TO payments_monitor;

RESET ROLE;
