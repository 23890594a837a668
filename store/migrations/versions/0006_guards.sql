-- The database refuses what the code forbids, whatever code runs, and whichever role it runs as.
--
-- A trigger is named <table>_<rule>, and that name is the constraint that its error carries: all that a fault's text
-- shows. Where a rule is a comparison within one row it stands in the trigger's WHEN or column list, which costs an
-- ordinary message next to nothing, and guard_refuse() only speaks. Rules that look at other rows have a function of
-- their own. Functions name their tables with the schema, since a session's temporary table would come first; they
-- need no rights beyond those of the role that writes.
--
-- Not held off: the owner of a table may switch its triggers off, and a superuser may do anything. Nobody logs in as
-- the owner; an edited history is what the hash chain finds.

SET LOCAL ROLE payments_owner;

-- Refuses what its trigger fired on. The first argument says why; the others name columns to cite, which must hold
-- ids or status words and nothing else.
CREATE FUNCTION guard_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    cited TEXT := (
        -- One value, or two where it changes; a missing row (OLD of an insert) is skipped.
        SELECT string_agg(
            concat_ws(' ', name, concat_ws(
                ' -> ', to_jsonb(OLD) ->> name, nullif(to_jsonb(NEW) ->> name, to_jsonb(OLD) ->> name)
            )), ', '
        )
        FROM unnest(TG_ARGV[1:]) AS name
    );
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = CASE WHEN TG_OP IN ('DELETE', 'TRUNCATE') THEN 'restrict_violation' ELSE 'check_violation' END,
        CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
        MESSAGE = format('%s on %s refused: %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]),
        DETAIL = coalesce(cited, 'the whole statement');
END $$;

-- payments ------------------------------------------------------------------------------------------------------------

-- A vendor does not approve its own payment, and a cancelled payment tells how it ended.
ALTER TABLE payments
    ADD CONSTRAINT payments_vendor_approves_not CHECK (approved_by IS NULL OR approved_by <> vendor_id),
    ADD CONSTRAINT payments_cancelled_how CHECK ((status = 'cancelled') = (cancel_kind IS NOT NULL));

CREATE TRIGGER payments_begin BEFORE INSERT ON payments FOR EACH ROW
    WHEN (
        NEW.status <> 'pending_approval' OR NEW.version <> 1 OR num_nonnulls(
            NEW.approved_by, NEW.approved_at, NEW.processed_at, NEW.completed_at, NEW.cancel_kind, NEW.failure_code,
            NEW.failed_reason
        ) > 0
    )
    EXECUTE FUNCTION guard_refuse('a payment begins as pending_approval in version 1', 'payment_id', 'status');

-- The twin of MOVES and RECORDS in contracts/lifecycle.py; a test compares every pair.
CREATE TRIGGER payments_moves BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (((OLD.status, NEW.status) IN (
        ('pending_approval', 'approved'),
        ('pending_approval', 'cancelled'),
        ('approved', 'cancelled'),
        ('approved', 'processing'),
        ('processing', 'processing'),
        ('processing', 'completed'),
        ('processing', 'failed'),
        ('failed', 'processing')
    )) IS NOT TRUE)
    EXECUTE FUNCTION guard_refuse('the lifecycle has no such move', 'payment_id', 'status');

CREATE TRIGGER payments_version BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (NEW.version <> OLD.version + 1)
    EXECUTE FUNCTION guard_refuse('every change is one version on', 'payment_id');

CREATE TRIGGER payments_set_once BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (
        (OLD.approved_by IS NOT NULL AND NEW.approved_by IS DISTINCT FROM OLD.approved_by)
        OR (OLD.approved_at IS NOT NULL AND NEW.approved_at IS DISTINCT FROM OLD.approved_at)
        OR (OLD.completed_at IS NOT NULL AND NEW.completed_at IS DISTINCT FROM OLD.completed_at)
        OR (OLD.cancel_kind IS NOT NULL AND NEW.cancel_kind IS DISTINCT FROM OLD.cancel_kind)
    )
    EXECUTE FUNCTION guard_refuse('who approved, and when and how it ended, is said once', 'payment_id');

-- The twin of the hold and of FRAUD_BLOCKS in contracts/payment.py: neither approved nor paid while a review is due.
CREATE TRIGGER payments_unblocked BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (
        NEW.status IN ('approved', 'processing') AND OLD.status <> NEW.status
        AND (NEW.on_hold OR NEW.fraud_status IN ('flagged', 'confirmed'))
    )
    EXECUTE FUNCTION guard_refuse('the payment is held or flagged', 'payment_id', 'status', 'fraud_status');

CREATE TRIGGER payments_frozen
    BEFORE UPDATE OF
        payment_id, incident_id, vendor_id, company_id, driver_id, payer_type, payer_id, amount_cents, currency, source,
        source_key, request_fingerprint, created_by, created_at, metadata, policy_version
    ON payments FOR EACH ROW
    WHEN (
        (
            OLD.payment_id, OLD.incident_id, OLD.vendor_id, OLD.company_id, OLD.driver_id, OLD.payer_type, OLD.payer_id,
            OLD.amount_cents, OLD.currency, OLD.source, OLD.source_key, OLD.request_fingerprint, OLD.created_by,
            OLD.created_at, OLD.metadata, OLD.policy_version
        ) IS DISTINCT FROM (
            NEW.payment_id, NEW.incident_id, NEW.vendor_id, NEW.company_id, NEW.driver_id, NEW.payer_type, NEW.payer_id,
            NEW.amount_cents, NEW.currency, NEW.source, NEW.source_key, NEW.request_fingerprint, NEW.created_by,
            NEW.created_at, NEW.metadata, NEW.policy_version
        )
    )
    EXECUTE FUNCTION guard_refuse('what was asked to be paid, to whom and by whom, never changes', 'payment_id');

CREATE TRIGGER payments_kept BEFORE DELETE OR TRUNCATE ON payments FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('payments are kept');

-- At COMMIT, when payment, lines, attempt and audit row are all written.
CREATE FUNCTION guard_payment_explained() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.payments AS payment
    CROSS JOIN LATERAL (
        SELECT seq, entry_hash, new_status FROM public.payment_audit_log
        WHERE payment_id = payment.payment_id ORDER BY seq DESC LIMIT 1
    ) AS newest
    WHERE payment.payment_id = NEW.payment_id
        AND newest.seq = payment.version AND newest.entry_hash = payment.audit_head
        AND newest.new_status = payment.status;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'a change of a payment is committed with its audit row: version, hash and status must be the same',
            DETAIL = format('payment_id %s', NEW.payment_id);
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER payments_explained AFTER INSERT OR UPDATE ON payments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard_payment_explained();

-- `completed` means that the provider took the money's order, `failed` that it definitely refused: an attempt says so,
-- and none is left that might still move money.
CREATE FUNCTION guard_payment_settled() RETURNS trigger LANGUAGE plpgsql AS $$
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
        WHEN 'processing' THEN attempts.succeeded = 0 AND attempts.open = 1
        WHEN 'completed' THEN attempts.succeeded = 1 AND attempts.open = 0
        WHEN 'failed' THEN attempts.failed > 0 AND attempts.succeeded + attempts.open = 0
        ELSE true
    END;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'a payment is processed with one open attempt, and completed or failed with one that says so',
            DETAIL = format('payment_id %s, status %s', NEW.payment_id, NEW.status);
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER payments_settled AFTER UPDATE ON payments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status IN ('processing', 'completed', 'failed'))
    EXECUTE FUNCTION guard_payment_settled();

-- payment_line_items --------------------------------------------------------------------------------------------------

CREATE TRIGGER payment_line_items_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_line_items
    FOR EACH STATEMENT EXECUTE FUNCTION guard_refuse('line items never change');

-- The sum alone would let a line of price zero be added later.
CREATE FUNCTION guard_line_items_complete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment UUID;
BEGIN
    -- One index probe per payment: as a join, the plan would depend on how large the log was when it was made.
    FOR payment IN SELECT DISTINCT payment_id FROM added LOOP
        PERFORM FROM public.payment_audit_log WHERE payment_id = payment LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'check_violation',
                CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
                MESSAGE = 'a payment gets its lines when it is created, and none later',
                DETAIL = format('payment_id %s', payment);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE TRIGGER payment_line_items_complete AFTER INSERT ON payment_line_items
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_line_items_complete();

-- payment_audit_log ---------------------------------------------------------------------------------------------------

CREATE TRIGGER payment_audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION guard_refuse('history never changes');

-- The twin of MOVES and RECORDS once more, now with the event: what happened and where it led belong together.
CREATE TRIGGER payment_audit_log_action BEFORE INSERT ON payment_audit_log FOR EACH ROW
    WHEN (((coalesce(NEW.previous_status, 'nothing'), NEW.action, NEW.new_status) IN (
        ('nothing', 'created', 'pending_approval'),
        ('pending_approval', 'approved', 'approved'),
        ('pending_approval', 'rejected', 'cancelled'),
        ('pending_approval', 'cancelled', 'cancelled'),
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

-- The row continues its payment's chain, and says the same as the payment, which is written first, does now.
CREATE FUNCTION guard_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment RECORD;
    last RECORD;
    flaw TEXT;
BEGIN
    SELECT version, audit_head, status, updated_at, created_by, approved_by, cancel_kind, amount_cents INTO payment
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

CREATE TRIGGER payment_audit_log_chain BEFORE INSERT ON payment_audit_log FOR EACH ROW
    EXECUTE FUNCTION guard_audit_chain();

-- payment_audit_notes -------------------------------------------------------------------------------------------------

CREATE TRIGGER payment_audit_notes_kept BEFORE DELETE OR TRUNCATE ON payment_audit_notes FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('notes are redacted, never deleted');

CREATE TRIGGER payment_audit_notes_redaction BEFORE UPDATE ON payment_audit_notes FOR EACH ROW
    WHEN ((
        NEW.log_id = OLD.log_id AND OLD.redacted_at IS NULL
        AND NEW.redacted_at IS NOT NULL AND NEW.salt IS NULL AND NEW.note IS NULL
    ) IS NOT TRUE)
    EXECUTE FUNCTION guard_refuse('a note is redacted once: salt and note go, redacted_at comes', 'log_id');

-- On a note: the chain holds the digest of just this text. On an audit row, at COMMIT: its digest has its note.
CREATE FUNCTION guard_audit_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'payment_audit_notes' THEN
        PERFORM FROM public.payment_audit_log
        WHERE log_id = NEW.log_id AND note_digest = sha256(NEW.salt || convert_to(NEW.note, 'UTF8'));
    ELSE
        PERFORM FROM public.payment_audit_notes WHERE log_id = NEW.log_id;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'a note and the digest in its audit row belong together',
            DETAIL = format('log_id %s', NEW.log_id);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER payment_audit_notes_digest BEFORE INSERT ON payment_audit_notes FOR EACH ROW
    EXECUTE FUNCTION guard_audit_note();

CREATE CONSTRAINT TRIGGER payment_audit_log_noted AFTER INSERT ON payment_audit_log
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.note_digest IS NOT NULL)
    EXECUTE FUNCTION guard_audit_note();

-- payout_attempts -----------------------------------------------------------------------------------------------------

CREATE TRIGGER payout_attempts_kept BEFORE DELETE OR TRUNCATE ON payout_attempts FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('attempts are kept');

CREATE TRIGGER payout_attempts_begin BEFORE INSERT ON payout_attempts FOR EACH ROW
    WHEN (NEW.state <> 'ready' OR num_nonnulls(NEW.provider_object_id, NEW.failure_code, NEW.resolved_at) > 0)
    EXECUTE FUNCTION guard_refuse('an attempt begins as ready', 'attempt_id', 'state');

CREATE TRIGGER payout_attempts_frozen
    BEFORE UPDATE OF
        attempt_id, payment_id, attempt_no, provider, operation, idempotency_key, request_fingerprint, destination,
        amount_cents, currency, created_at, submit_before
    ON payout_attempts FOR EACH ROW
    WHEN (
        (
            OLD.attempt_id, OLD.payment_id, OLD.attempt_no, OLD.provider, OLD.operation, OLD.idempotency_key,
            OLD.request_fingerprint, OLD.destination, OLD.amount_cents, OLD.currency, OLD.created_at, OLD.submit_before
        ) IS DISTINCT FROM (
            NEW.attempt_id, NEW.payment_id, NEW.attempt_no, NEW.provider, NEW.operation, NEW.idempotency_key,
            NEW.request_fingerprint, NEW.destination, NEW.amount_cents, NEW.currency, NEW.created_at, NEW.submit_before
        )
    )
    EXECUTE FUNCTION guard_refuse('what was ordered, under which key and until when, never changes', 'attempt_id');

CREATE TRIGGER payout_attempts_final BEFORE UPDATE ON payout_attempts FOR EACH ROW
    WHEN (OLD.state IN ('succeeded', 'failed'))
    EXECUTE FUNCTION guard_refuse('a settled attempt changes no more', 'attempt_id', 'state');

-- An order that may have been carried out is never again one that was not, and no check or object is forgotten.
CREATE TRIGGER payout_attempts_onward BEFORE UPDATE ON payout_attempts FOR EACH ROW
    WHEN (
        NEW.checks < OLD.checks OR (OLD.state = 'unknown' AND NEW.state = 'ready')
        OR (OLD.provider_object_id IS NOT NULL AND NEW.provider_object_id IS DISTINCT FROM OLD.provider_object_id)
    )
    EXECUTE FUNCTION guard_refuse('what is known of an attempt does not become less', 'attempt_id', 'state');

-- Attempt and payment, which is written first, tell the same story.
CREATE FUNCTION guard_attempt_agrees() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment RECORD;
BEGIN
    SELECT status, amount_cents, currency, vendor_id INTO payment
    FROM public.payments WHERE payment_id = NEW.payment_id FOR NO KEY UPDATE;
    IF (NEW.amount_cents, NEW.currency, NEW.destination)
            IS DISTINCT FROM (payment.amount_cents, payment.currency, payment.vendor_id::text)
        OR (TG_OP = 'INSERT' AND (
            NEW.submit_before > clock_timestamp() + interval '1 day' -- a provider forgets its key after that
            OR NEW.attempt_no <> 1 + (
                SELECT coalesce(max(attempt_no), 0) FROM public.payout_attempts WHERE payment_id = NEW.payment_id
            )
        ))
        OR ((NEW.state, payment.status) IN (
            ('ready', 'processing'),
            ('unknown', 'processing'),
            ('succeeded', 'completed'),
            ('failed', 'failed')
        )) IS NOT TRUE
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'an attempt is its payment''s next, with its amount, currency and vendor, for a day at most, and '
                'in a state that goes with its status',
            DETAIL = format('attempt_id %s, state %s, payment %s', NEW.attempt_id, NEW.state, payment.status);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER payout_attempts_agrees BEFORE INSERT OR UPDATE OF state ON payout_attempts FOR EACH ROW
    EXECUTE FUNCTION guard_attempt_agrees();

-- messages ------------------------------------------------------------------------------------------------------------

CREATE TRIGGER message_inbox_frozen BEFORE UPDATE OF consumer, message_key, fingerprint, received_at ON message_inbox
    FOR EACH ROW
    WHEN (
        (OLD.consumer, OLD.message_key, OLD.fingerprint, OLD.received_at)
        IS DISTINCT FROM (NEW.consumer, NEW.message_key, NEW.fingerprint, NEW.received_at)
    )
    EXECUTE FUNCTION guard_refuse('what a message was, and when it came, never changes');

-- A claim says 'applied' until its own transaction corrects it; what was refused was not applied after all.
CREATE TRIGGER message_inbox_settled_once BEFORE UPDATE OF outcome, outcome_code ON message_inbox FOR EACH ROW
    WHEN (
        OLD.outcome <> 'applied'
        AND (OLD.outcome, OLD.outcome_code) IS DISTINCT FROM (NEW.outcome, NEW.outcome_code)
    )
    EXECUTE FUNCTION guard_refuse('how a message ended is said once', 'payment_id', 'outcome');

-- A message can come back for 18 days: 4 in its queue, then 14 in the dead-letter queue.
CREATE TRIGGER message_inbox_kept BEFORE DELETE ON message_inbox FOR EACH ROW
    WHEN (OLD.received_at > clock_timestamp() - interval '18 days')
    EXECUTE FUNCTION guard_refuse('a message of the last 18 days may still come back', 'payment_id');

CREATE TRIGGER message_inbox_kept_whole BEFORE TRUNCATE ON message_inbox FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('messages that may come back are kept');

CREATE TRIGGER outbox_frozen
    BEFORE UPDATE OF payload, event_id, aggregate_id, aggregate_seq, destination, detail_type, created_at ON outbox
    FOR EACH ROW
    WHEN (
        (
            OLD.payload, OLD.event_id, OLD.aggregate_id, OLD.aggregate_seq, OLD.destination, OLD.detail_type,
            OLD.created_at
        ) IS DISTINCT FROM (
            NEW.payload, NEW.event_id, NEW.aggregate_id, NEW.aggregate_seq, NEW.destination, NEW.detail_type,
            NEW.created_at
        )
    )
    EXECUTE FUNCTION guard_refuse('what is to be said never changes', 'event_id');

CREATE TRIGGER outbox_kept BEFORE DELETE ON outbox FOR EACH ROW
    WHEN (OLD.published_at IS NULL)
    EXECUTE FUNCTION guard_refuse('what was not sent is kept', 'event_id');

CREATE TRIGGER outbox_kept_whole BEFORE TRUNCATE ON outbox FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('what was not sent is kept');

CREATE TRIGGER message_failures_kept_whole BEFORE TRUNCATE ON message_failures FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('failures are deleted one by one, when they are dealt with');

CREATE TRIGGER failure_replays_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON failure_replays FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('replays never change');

CREATE TRIGGER failure_replays_sent_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON failure_replays_sent
    FOR EACH STATEMENT EXECUTE FUNCTION guard_refuse('replays never change');

-- Grants --------------------------------------------------------------------------------------------------------------

-- The worker inserts what its code writes and no other column: a row is not born approved or reversed, an event not
-- as sent, a claim not in the past.
REVOKE INSERT ON payments, payout_attempts, message_inbox, outbox FROM payments_worker;
GRANT INSERT (
    payment_id, incident_id, vendor_id, company_id, driver_id, payer_type, payer_id, amount_cents, currency, status,
    source, source_key, request_fingerprint, created_by, metadata, fraud_status, version, audit_head, created_at,
    updated_at
) ON payments TO payments_worker;
GRANT INSERT (
    attempt_id, payment_id, attempt_no, provider, operation, idempotency_key, request_fingerprint, destination,
    amount_cents, currency, state, created_at, submit_before, checks, next_check_at
) ON payout_attempts TO payments_worker;
GRANT INSERT (consumer, message_key, fingerprint, outcome, outcome_code, payment_id) ON message_inbox
    TO payments_worker;
GRANT INSERT (
    event_id, aggregate_id, aggregate_seq, destination, detail_type, payload, available_at, created_at
) ON outbox TO payments_worker;
GRANT SELECT (log_id) ON payment_audit_notes TO payments_worker; -- whether a digest has its note, not what it says

RESET ROLE;
