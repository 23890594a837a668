-- What the guards refuse stays the same; what they cost falls: the INSERT into the audit log of a payment that is created
-- took 0.77 ms of the whole transaction's 2.8, and takes a quarter of that. Measured with one client and with perf(1):
-- * The condition of a trigger is kept as text, and every statement reads and compiles it anew. That of the lifecycle has
--   19 moves: a third of the time of an INSERT. In a function it is compiled once for a session.
-- * An expression with a subquery is no simple expression to PL/pgSQL: it becomes a query of its own, with all of its
--   branches. Each question is asked by itself now, and only where the action is one that it is about.
-- * A simple expression is compiled once for a transaction, however much of it is looked at. A creation that is as it
--   should be, which is what nearly every one is, is recognised by one query and a short one; any other goes on to be
--   told what is wrong.

SET LOCAL ROLE payments_owner;

-- The twin of MOVES and RECORDS, with the event: what happened and where it led belong together.
CREATE FUNCTION guard_lifecycle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Not concat_ws, which leaves out what is NULL.
    IF (coalesce(NEW.previous_status, 'nothing') || ' ' || NEW.action || ' ' || NEW.new_status = ANY (ARRAY[
        'nothing created pending_approval',
        'pending_approval approval_recorded pending_approval',
        'pending_approval held pending_approval',
        'pending_approval hold_released pending_approval',
        'pending_approval approved approved',
        'pending_approval rejected cancelled',
        'pending_approval cancelled cancelled',
        'approved held approved',
        'approved hold_released approved',
        'approved cancelled cancelled',
        'approved processing_started processing',
        'processing payout_unknown processing',
        'processing attempt_failed processing',
        'processing attempt_opened processing',
        'processing payout_succeeded completed',
        'processing payout_failed failed',
        'completed reversed completed',
        'completed settlement_changed completed',
        'failed retried processing'
    ])) IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = format('%s on %s refused: the lifecycle has no such event', TG_OP, TG_TABLE_NAME),
            DETAIL = format(
                'payment_id %s, previous_status %s, action %s, new_status %s',
                NEW.payment_id, NEW.previous_status, NEW.action, NEW.new_status
            );
    END IF;
    RETURN NEW;
END $$;

DROP TRIGGER payment_audit_log_action ON payment_audit_log;
CREATE TRIGGER payment_audit_log_action BEFORE INSERT ON payment_audit_log
    FOR EACH ROW EXECUTE FUNCTION guard_lifecycle();

CREATE OR REPLACE FUNCTION guard_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment RECORD;
    last RECORD;
    flaw TEXT;
BEGIN
    IF NEW.action = 'created' THEN
        -- By its key alone: with more conditions the plan is that of whichever index was cheapest on an empty table.
        SELECT
            version, audit_head, status, updated_at, created_by, amount_cents,
            (SELECT sum(total_cents) FROM public.payment_line_items WHERE payment_id = NEW.payment_id) AS total_cents,
            (
                SELECT seq FROM public.payment_audit_log WHERE payment_id = NEW.payment_id ORDER BY seq DESC LIMIT 1
            ) AS last_seq
        INTO payment
        FROM public.payments WHERE payment_id = NEW.payment_id;
        IF (NEW.seq, NEW.entry_hash, NEW.new_status, NEW."timestamp", NEW.actor_id, payment.total_cents)
            = (payment.version, payment.audit_head, payment.status, payment.updated_at, payment.created_by,
                payment.amount_cents)
            AND NEW.seq = 1 AND num_nonnulls(NEW.prev_hash, NEW.previous_status, payment.last_seq) = 0
            AND NEW."timestamp" <= clock_timestamp() + interval '5 minutes'
        THEN
            RETURN NEW;
        END IF;
    END IF;
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
        -- Nobody's approval is the system's, for payers that need none.
        WHEN NEW.action = 'approved' AND NEW.actor_id IS DISTINCT FROM payment.approved_by
            AND (payment.approved_by IS NOT NULL OR NEW.actor_type <> 'system')
            THEN 'somebody else approved the payment'
        WHEN NEW.action = 'approval_recorded' AND NEW.actor_type = 'system'
            THEN 'only persons approve by steps'
        WHEN NEW.action IN ('held', 'hold_released') AND payment.on_hold IS DISTINCT FROM (NEW.action = 'held')
            THEN 'the payment is not held as it says'
        WHEN NEW.action IN ('rejected', 'cancelled') AND NEW.action IS DISTINCT FROM payment.cancel_kind
            THEN 'the payment ended the other way'
    END;
    IF flaw IS NOT NULL THEN
        NULL;
    ELSIF NEW.action = 'created' THEN
        -- Here too, since a deferred check can be brought forward, and no line can be added after this row.
        IF payment.amount_cents IS DISTINCT FROM (
            SELECT sum(total_cents) FROM public.payment_line_items WHERE payment_id = NEW.payment_id
        ) THEN
            flaw := 'its lines do not sum to its amount';
        END IF;
    ELSIF NEW.action IN ('approved', 'approval_recorded') AND NEW.actor_type <> 'system' THEN
        IF NOT EXISTS (
            SELECT FROM public.payment_approvals
            WHERE payment_id = NEW.payment_id AND approver_id = NEW.actor_id AND approved_at = NEW."timestamp"
        ) THEN
            flaw := 'the approval itself is missing';
        END IF;
    ELSIF NEW.action = 'processing_started' AND payment.separate_releaser THEN
        IF NEW.actor_type = 'system' OR NEW.actor_id = payment.vendor_id OR EXISTS (
            SELECT FROM public.payment_approvals WHERE payment_id = NEW.payment_id AND approver_id = NEW.actor_id
        ) THEN
            flaw := 'the policy asks for a releaser who has not approved';
        END IF;
    END IF;
    IF flaw IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = format('an audit row explains what its payment is now: %s', flaw),
            DETAIL = format('payment_id %s, action %s', NEW.payment_id, NEW.action);
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION guard_line_items_complete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment UUID;
BEGIN
    -- One index probe per line: as a plain join, the plan would depend on how large the log was when it was made.
    SELECT added.payment_id INTO payment
    FROM added CROSS JOIN LATERAL (
        SELECT FROM public.payment_audit_log AS told WHERE told.payment_id = added.payment_id LIMIT 1
    ) AS explained
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'a payment gets its lines when it is created, and none later',
            DETAIL = format('payment_id %s', payment);
    END IF;
    RETURN NULL;
END $$;

RESET ROLE;
