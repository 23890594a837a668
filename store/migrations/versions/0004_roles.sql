-- Group roles that hold the grants; whoever logs in is a member of one of them, and two members of the same role
-- can take turns when their passwords are rotated. Roles are global to a cluster: they may be there already, made by
-- another database's migration, and a database that is dropped leaves them behind.
--
--   payments_owner    owns every table; nobody logs in as it, migrations switch to it
--   payments_worker   handles messages: writes what happens to a payment, and changes nothing that is history
--   payments_relay    sends the outbox and prunes; it cannot touch a payment
--   payments_reader   the read endpoint: no notes, which are personal data
--   payments_monitor  gauges, verification and operators: reads, and records a replay

DO $$
DECLARE
    wanted TEXT;
    -- Since Postgres 16 whoever makes a role is a member of it that may hand it on, but not switch to it.
    switch TEXT := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[
        'payments_owner', 'payments_worker', 'payments_relay', 'payments_reader', 'payments_monitor'
    ] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this cluster was migrated at the same moment
        END;
    END LOOP;
    -- Whoever migrates hands its tables to the owner, and later revisions switch to it.
    IF NOT pg_has_role(current_user, 'payments_owner', switch) THEN
        BEGIN
            EXECUTE format('GRANT payments_owner TO %I', current_user);
        EXCEPTION WHEN unique_violation THEN
            NULL; -- the same user migrates another database at the same moment
        END;
    END IF;
END $$;

GRANT USAGE, CREATE ON SCHEMA public TO payments_owner;
GRANT USAGE ON SCHEMA public TO payments_worker, payments_relay, payments_reader, payments_monitor;

ALTER TABLE payments OWNER TO payments_owner;
ALTER TABLE payment_line_items OWNER TO payments_owner;
ALTER TABLE payment_audit_log OWNER TO payments_owner;
ALTER TABLE payment_audit_notes OWNER TO payments_owner;
ALTER TABLE payout_attempts OWNER TO payments_owner;
ALTER TABLE message_inbox OWNER TO payments_owner;
ALTER TABLE outbox OWNER TO payments_owner;
ALTER TABLE message_failures OWNER TO payments_owner;
ALTER TABLE alembic_version OWNER TO payments_owner; -- so that another member can run the next migration

GRANT SELECT ON alembic_version TO payments_worker, payments_relay, payments_reader, payments_monitor;

SET LOCAL ROLE payments_owner;

-- The digests that the audit chain holds, without the notes: what a verifier needs and no more.
CREATE VIEW payment_audit_note_digests AS
SELECT log_id, sha256(salt || convert_to(note, 'UTF8')) AS digest, redacted_at FROM payment_audit_notes;

GRANT SELECT, INSERT, UPDATE (
    status, approved_by, approved_at, processed_at, completed_at, failure_code, failed_reason, cancel_kind, on_hold,
    version, audit_head, updated_at
) ON payments TO payments_worker;
GRANT SELECT, INSERT ON payment_line_items, payment_audit_log TO payments_worker;
GRANT INSERT ON payment_audit_notes TO payments_worker;
GRANT SELECT, INSERT, UPDATE (state, failure_code, provider_object_id, checks, next_check_at, resolved_at)
    ON payout_attempts TO payments_worker;
GRANT SELECT, INSERT, UPDATE (outcome, outcome_code, payment_id) ON message_inbox TO payments_worker;
GRANT INSERT, SELECT (event_id) ON outbox TO payments_worker; -- the id decides whether a row is there already
GRANT SELECT, INSERT, UPDATE (attempts, last_failed_at, outcome, reason, detail) ON message_failures
    TO payments_worker;

GRANT SELECT, UPDATE (available_at, attempts, published_at, bus_event_id, failed_at), DELETE ON outbox
    TO payments_relay;
GRANT SELECT (consumer, message_key, received_at), DELETE ON message_inbox TO payments_relay;
GRANT SELECT (state, created_at) ON payout_attempts TO payments_relay; -- what /ready shows

GRANT SELECT ON payments, payment_line_items, payment_audit_log, payout_attempts, message_inbox, outbox
    TO payments_reader, payments_monitor;
GRANT SELECT ON message_failures, payment_audit_note_digests TO payments_monitor;

RESET ROLE;
