-- The whole schema as the revisions in store/migrations make it: tables, indexes, functions, triggers, owners, grants.
-- Written by `python -m tests.store.regenerate_schema` (or `make golden`) and never by hand: change a revision instead.
-- The roles are not part of a database; revision 0004 makes them.

CREATE FUNCTION public.acting_membership() RETURNS TABLE(role text, company_id uuid, vendor_id uuid)
    LANGUAGE sql STABLE
    AS $$
    SELECT member.role, member.company_id, member.vendor_id FROM public.memberships AS member
    WHERE member.sub = NULLIF(current_setting('app.subject', true), '')::uuid AND member.enabled
        AND member.role = ANY (string_to_array(current_setting('app.groups', true), ','))
$$;

ALTER FUNCTION public.acting_membership() OWNER TO payments_owner;

CREATE FUNCTION public.guard_approver() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM FROM public.payments AS payment
    JOIN public.memberships AS member ON member.sub = NEW.approver_id
    WHERE payment.payment_id = NEW.payment_id AND member.enabled AND member.role = NEW.role
        AND member.vendor_id IS DISTINCT FROM payment.vendor_id
        AND (member.role = 'admin' OR member.company_id = payment.company_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'an approver is a member who may approve this payment, and does not act for its vendor',
            DETAIL = format('payment_id %s, level %s', NEW.payment_id, NEW.level);
    END IF;
    RETURN NEW;
END $$;

ALTER FUNCTION public.guard_approver() OWNER TO payments_owner;

CREATE FUNCTION public.guard_attempt_agrees() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_attempt_agrees() OWNER TO payments_owner;

CREATE FUNCTION public.guard_audit_chain() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_audit_chain() OWNER TO payments_owner;

CREATE FUNCTION public.guard_audit_note() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_audit_note() OWNER TO payments_owner;

CREATE FUNCTION public.guard_beneficiary() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NEW.action = 'held' AND 'held' IS DISTINCT FROM (
        SELECT action FROM public.payment_audit_log
        WHERE payment_id = NEW.payment_id AND action IN ('held', 'hold_released', 'approved') ORDER BY seq DESC LIMIT 1
    ) THEN
        RETURN NEW;
    END IF;
    PERFORM FROM public.payments AS payment
    WHERE payment.payment_id = NEW.payment_id AND (
        NEW.actor_id = payment.vendor_id OR EXISTS (
            SELECT FROM public.memberships AS member
            WHERE member.sub = NEW.actor_id AND member.vendor_id = payment.vendor_id
        )
    );
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'nobody lifts or changes the hold of what they are paid by, or pays it out',
            DETAIL = format('payment_id %s, action %s', NEW.payment_id, NEW.action);
    END IF;
    RETURN NEW;
END $$;

ALTER FUNCTION public.guard_beneficiary() OWNER TO payments_owner;

CREATE FUNCTION public.guard_hold_kept() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    payment RECORD;
    last TEXT;
BEGIN
    SELECT on_hold, hold_until INTO payment FROM public.payments WHERE payment_id = NEW.payment_id;
    SELECT action INTO last FROM public.payment_audit_log
    WHERE payment_id = NEW.payment_id AND action IN ('held', 'hold_released') ORDER BY seq DESC LIMIT 1;
    IF payment.on_hold IS DISTINCT FROM (coalesce(last, '') = 'held')
        OR (payment.on_hold AND (payment.hold_until IS NULL OR payment.hold_until > NEW."timestamp"))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            MESSAGE = 'an approval is recorded of no payment that is held, and lifts no hold',
            DETAIL = format('payment_id %s, action %s', NEW.payment_id, NEW.action);
    END IF;
    RETURN NEW;
END $$;

ALTER FUNCTION public.guard_hold_kept() OWNER TO payments_owner;

CREATE FUNCTION public.guard_lifecycle() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_lifecycle() OWNER TO payments_owner;

CREATE FUNCTION public.guard_line_items_complete() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_line_items_complete() OWNER TO payments_owner;

CREATE FUNCTION public.guard_payment_approval() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_payment_approval() OWNER TO payments_owner;

CREATE FUNCTION public.guard_payment_approved() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_payment_approved() OWNER TO payments_owner;

CREATE FUNCTION public.guard_payment_explained() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_payment_explained() OWNER TO payments_owner;

CREATE FUNCTION public.guard_payment_settled() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_payment_settled() OWNER TO payments_owner;

CREATE FUNCTION public.guard_policy_version() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_policy_version() OWNER TO payments_owner;

CREATE FUNCTION public.guard_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_refuse() OWNER TO payments_owner;

CREATE FUNCTION public.guard_reversed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

ALTER FUNCTION public.guard_reversed() OWNER TO payments_owner;

CREATE TABLE public.access_audit (
    access_id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    operation text NOT NULL,
    decision text NOT NULL,
    code text,
    actor_id uuid,
    sender text,
    object_id uuid,
    message_key text,
    proof jsonb DEFAULT '{}'::jsonb NOT NULL,
    data jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT access_audit_check CHECK (((decision = 'denied'::text) = (code IS NOT NULL))),
    CONSTRAINT access_audit_code_check CHECK ((length(code) <= 64)),
    CONSTRAINT access_audit_decision_check CHECK ((decision = ANY (ARRAY['allowed'::text, 'denied'::text]))),
    CONSTRAINT access_audit_message_key_check CHECK ((length(message_key) <= 250)),
    CONSTRAINT access_audit_operation_check CHECK ((length(operation) <= 64)),
    CONSTRAINT access_audit_sender_check CHECK ((length(sender) <= 128))
);

ALTER TABLE public.access_audit OWNER TO payments_owner;

ALTER TABLE public.access_audit ALTER COLUMN access_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.access_audit_access_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

ALTER TABLE public.alembic_version OWNER TO payments_owner;

CREATE TABLE public.approval_policies (
    company_id uuid NOT NULL,
    version integer NOT NULL,
    tiers jsonb NOT NULL,
    separate_releaser boolean NOT NULL,
    created_by uuid NOT NULL,
    message_key text NOT NULL,
    as_of timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT approval_policies_message_key_check CHECK ((length(message_key) <= 250)),
    CONSTRAINT approval_policies_tiers_check CHECK (((jsonb_typeof(tiers) = 'array'::text) AND ((jsonb_array_length(tiers) >= 1) AND (jsonb_array_length(tiers) <= 50)))),
    CONSTRAINT approval_policies_version_check CHECK ((version > 0))
);

ALTER TABLE public.approval_policies OWNER TO payments_owner;

CREATE TABLE public.audit_verifications (
    verified_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    payments bigint NOT NULL,
    links bigint NOT NULL,
    broken bigint NOT NULL,
    CONSTRAINT audit_verifications_broken CHECK ((broken >= 0)),
    CONSTRAINT audit_verifications_links CHECK ((links >= 0)),
    CONSTRAINT audit_verifications_payments CHECK ((payments >= 0))
);

ALTER TABLE public.audit_verifications OWNER TO payments_owner;

CREATE TABLE public.failure_replays (
    replay_id uuid NOT NULL,
    failure_id uuid NOT NULL,
    actor_id uuid NOT NULL,
    reason text NOT NULL,
    replayed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT failure_replays_reason_check CHECK (((btrim(reason) <> ''::text) AND (length(reason) <= 500)))
);

ALTER TABLE public.failure_replays OWNER TO payments_owner;

CREATE TABLE public.failure_replays_sent (
    replay_id uuid NOT NULL,
    sqs_message_id text NOT NULL,
    sent_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT failure_replays_sent_sqs_message_id_check CHECK ((length(sqs_message_id) <= 128))
);

ALTER TABLE public.failure_replays_sent OWNER TO payments_owner;

CREATE TABLE public.fleet_snapshots (
    taken_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    facts jsonb NOT NULL,
    CONSTRAINT fleet_snapshots_facts CHECK ((jsonb_typeof(facts) = 'object'::text))
);

ALTER TABLE public.fleet_snapshots OWNER TO payments_owner;

CREATE TABLE public.heartbeats (
    instance_id uuid NOT NULL,
    role text NOT NULL,
    version text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    beaten_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    stopped_at timestamp with time zone,
    trouble text,
    CONSTRAINT heartbeats_role CHECK ((role = ANY (ARRAY['worker'::text, 'relay'::text, 'monitor'::text, 'status'::text]))),
    CONSTRAINT heartbeats_trouble CHECK ((length(trouble) <= 200)),
    CONSTRAINT heartbeats_version CHECK ((length(version) <= 64))
);

ALTER TABLE ONLY public.heartbeats FORCE ROW LEVEL SECURITY;

ALTER TABLE public.heartbeats OWNER TO payments_owner;

CREATE TABLE public.memberships (
    sub uuid NOT NULL,
    role text NOT NULL,
    company_id uuid,
    vendor_id uuid,
    enabled boolean NOT NULL,
    as_of timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    message_key text NOT NULL,
    CONSTRAINT memberships_dispatcher_of_company CHECK (((role <> 'dispatcher'::text) OR (company_id IS NOT NULL))),
    CONSTRAINT memberships_message_key_check CHECK ((length(message_key) <= 250)),
    CONSTRAINT memberships_role_check CHECK ((role = ANY (ARRAY['dispatcher'::text, 'admin'::text, 'vendor'::text]))),
    CONSTRAINT memberships_vendor_of_vendor CHECK (((role <> 'vendor'::text) OR (vendor_id IS NOT NULL)))
);

ALTER TABLE ONLY public.memberships FORCE ROW LEVEL SECURITY;

ALTER TABLE public.memberships OWNER TO payments_owner;

CREATE TABLE public.message_failures (
    failure_id uuid NOT NULL,
    queue text NOT NULL,
    sqs_message_id text NOT NULL,
    kind text,
    message_key text NOT NULL,
    outcome character varying(20) NOT NULL,
    reason character varying(64) NOT NULL,
    detail text,
    body_bytes integer NOT NULL,
    body_digest bytea NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    first_sent_at timestamp with time zone NOT NULL,
    first_failed_at timestamp with time zone DEFAULT now() NOT NULL,
    last_failed_at timestamp with time zone DEFAULT now() NOT NULL,
    sender text,
    CONSTRAINT message_failures_attempts_check CHECK ((attempts > 0)),
    CONSTRAINT message_failures_body_bytes_check CHECK ((body_bytes >= 0)),
    CONSTRAINT message_failures_body_digest_check CHECK ((octet_length(body_digest) = 32)),
    CONSTRAINT message_failures_detail_check CHECK ((length(detail) <= 2000)),
    CONSTRAINT message_failures_kind_check CHECK ((length(kind) <= 64)),
    CONSTRAINT message_failures_message_key_check CHECK ((length(message_key) <= 250)),
    CONSTRAINT message_failures_outcome_check CHECK (((outcome)::text = ANY (ARRAY['invalid'::text, 'fault'::text, 'retry'::text]))),
    CONSTRAINT message_failures_queue_check CHECK ((length(queue) <= 128)),
    CONSTRAINT message_failures_sender_check CHECK ((length(sender) <= 128)),
    CONSTRAINT message_failures_sqs_message_id_check CHECK ((length(sqs_message_id) <= 128))
);

ALTER TABLE public.message_failures OWNER TO payments_owner;

CREATE TABLE public.message_inbox (
    consumer text NOT NULL,
    message_key text NOT NULL,
    fingerprint bytea NOT NULL,
    outcome character varying(20) NOT NULL,
    outcome_code character varying(64),
    payment_id uuid,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT message_inbox_consumer_check CHECK ((length(consumer) <= 64)),
    CONSTRAINT message_inbox_fingerprint_check CHECK ((octet_length(fingerprint) = 32)),
    CONSTRAINT message_inbox_message_key_check CHECK ((length(message_key) <= 250)),
    CONSTRAINT message_inbox_outcome_check CHECK (((outcome)::text = ANY (ARRAY['applied'::text, 'ignored'::text, 'refused'::text])))
);

ALTER TABLE public.message_inbox OWNER TO payments_owner;

CREATE TABLE public.outbox (
    outbox_id bigint NOT NULL,
    event_id uuid NOT NULL,
    aggregate_id uuid NOT NULL,
    aggregate_seq integer NOT NULL,
    destination text NOT NULL,
    detail_type text NOT NULL,
    payload jsonb NOT NULL,
    available_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    published_at timestamp with time zone,
    bus_event_id text,
    failed_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    traceparent character varying(55),
    CONSTRAINT outbox_aggregate_seq_check CHECK ((aggregate_seq >= 0)),
    CONSTRAINT outbox_bus_event_id_check CHECK ((length(bus_event_id) <= 255)),
    CONSTRAINT outbox_check CHECK (((published_at IS NULL) OR (failed_at IS NULL))),
    CONSTRAINT outbox_destination_check CHECK ((destination = ANY (ARRAY['bus'::text, 'approvals'::text, 'payouts'::text]))),
    CONSTRAINT outbox_detail_type_check CHECK ((length(detail_type) <= 64))
);

ALTER TABLE public.outbox OWNER TO payments_owner;

ALTER TABLE public.outbox ALTER COLUMN outbox_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.outbox_outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.payment_approvals (
    payment_id uuid NOT NULL,
    approver_id uuid NOT NULL,
    level smallint NOT NULL,
    role text NOT NULL,
    message_key text NOT NULL,
    approved_at timestamp with time zone NOT NULL,
    CONSTRAINT payment_approvals_level_check CHECK ((level > 0)),
    CONSTRAINT payment_approvals_message_key_check CHECK ((length(message_key) <= 250))
);

ALTER TABLE ONLY public.payment_approvals FORCE ROW LEVEL SECURITY;

ALTER TABLE public.payment_approvals OWNER TO payments_owner;

CREATE TABLE public.payment_audit_log (
    log_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    seq integer NOT NULL,
    action character varying(50) NOT NULL,
    actor_id uuid NOT NULL,
    actor_type character varying(20) NOT NULL,
    previous_status character varying(20),
    new_status character varying(20),
    message_key text NOT NULL,
    data jsonb DEFAULT '{}'::jsonb NOT NULL,
    note_digest bytea,
    hash_version smallint DEFAULT 1 NOT NULL,
    prev_hash bytea,
    entry_hash bytea NOT NULL,
    "timestamp" timestamp with time zone NOT NULL,
    CONSTRAINT payment_audit_log_actor_type_check CHECK (((actor_type)::text = ANY (ARRAY['user'::text, 'system'::text, 'admin'::text]))),
    CONSTRAINT payment_audit_log_check CHECK (((seq = 1) = (prev_hash IS NULL))),
    CONSTRAINT payment_audit_log_entry_hash_check CHECK ((octet_length(entry_hash) = 32)),
    CONSTRAINT payment_audit_log_message_key_check CHECK ((length(message_key) <= 250)),
    CONSTRAINT payment_audit_log_note_digest_check CHECK ((octet_length(note_digest) = 32)),
    CONSTRAINT payment_audit_log_prev_hash_check CHECK ((octet_length(prev_hash) = 32)),
    CONSTRAINT payment_audit_log_seq_check CHECK ((seq > 0))
);

ALTER TABLE ONLY public.payment_audit_log FORCE ROW LEVEL SECURITY;

ALTER TABLE public.payment_audit_log OWNER TO payments_owner;

CREATE TABLE public.payment_audit_notes (
    log_id uuid NOT NULL,
    salt bytea,
    note text,
    redacted_at timestamp with time zone,
    CONSTRAINT payment_audit_notes_check CHECK (((redacted_at IS NULL) = ((note IS NOT NULL) AND (salt IS NOT NULL)))),
    CONSTRAINT payment_audit_notes_note_check CHECK ((length(note) <= 10000)),
    CONSTRAINT payment_audit_notes_salt_check CHECK ((octet_length(salt) = 32))
);

ALTER TABLE public.payment_audit_notes OWNER TO payments_owner;

CREATE VIEW public.payment_audit_note_digests AS
 SELECT log_id,
    sha256((salt || convert_to(note, 'UTF8'::name))) AS digest,
    redacted_at
   FROM public.payment_audit_notes;

ALTER VIEW public.payment_audit_note_digests OWNER TO payments_owner;

CREATE TABLE public.payment_line_items (
    line_item_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    line_no smallint NOT NULL,
    description character varying(255) NOT NULL,
    quantity integer DEFAULT 1 NOT NULL,
    unit_price_cents bigint NOT NULL,
    total_cents bigint GENERATED ALWAYS AS ((quantity * unit_price_cents)) STORED,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT payment_line_items_description_check CHECK ((btrim((description)::text) <> ''::text)),
    CONSTRAINT payment_line_items_line_no_check CHECK ((line_no > 0)),
    CONSTRAINT payment_line_items_quantity_check CHECK ((quantity > 0)),
    CONSTRAINT payment_line_items_unit_price_cents_check CHECK ((unit_price_cents >= 0))
);

ALTER TABLE ONLY public.payment_line_items FORCE ROW LEVEL SECURITY;

ALTER TABLE public.payment_line_items OWNER TO payments_owner;

CREATE TABLE public.payments (
    payment_id uuid NOT NULL,
    incident_id uuid NOT NULL,
    vendor_id uuid NOT NULL,
    company_id uuid,
    driver_id uuid,
    payer_type character varying(20) NOT NULL,
    payer_id uuid,
    amount_cents bigint NOT NULL,
    currency character(3) DEFAULT 'USD'::bpchar NOT NULL,
    status character varying(20) DEFAULT 'pending_approval'::character varying NOT NULL,
    source character varying(20) NOT NULL,
    source_key text NOT NULL,
    request_fingerprint bytea NOT NULL,
    created_by uuid NOT NULL,
    fraud_score numeric(5,4),
    fraud_status character varying(20) DEFAULT 'not_scored'::character varying NOT NULL,
    approved_by uuid,
    approved_at timestamp with time zone,
    processed_at timestamp with time zone,
    completed_at timestamp with time zone,
    failure_code character varying(64),
    failed_reason text,
    amount_reversed_cents bigint DEFAULT 0 NOT NULL,
    settlement_status character varying(12) DEFAULT 'none'::character varying NOT NULL,
    policy_version integer,
    on_hold boolean DEFAULT false NOT NULL,
    hold_until timestamp with time zone,
    cancel_kind character varying(12),
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    audit_head bytea,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    required_approvals smallint DEFAULT 1 NOT NULL,
    approver_roles text[] DEFAULT '{dispatcher,admin}'::text[] NOT NULL,
    separate_releaser boolean DEFAULT false NOT NULL,
    CONSTRAINT payments_amount_cents_check CHECK (((amount_cents >= 1) AND (amount_cents <= '99999999999'::bigint))),
    CONSTRAINT payments_amount_reversed_cents_check CHECK ((amount_reversed_cents >= 0)),
    CONSTRAINT payments_approver_roles_check CHECK (((approver_roles <@ '{dispatcher,admin}'::text[]) AND (cardinality(approver_roles) > 0))),
    CONSTRAINT payments_audit_head_check CHECK ((octet_length(audit_head) = 32)),
    CONSTRAINT payments_cancel_kind_check CHECK (((cancel_kind)::text = ANY (ARRAY['rejected'::text, 'cancelled'::text]))),
    CONSTRAINT payments_cancelled_how CHECK ((((status)::text = 'cancelled'::text) = (cancel_kind IS NOT NULL))),
    CONSTRAINT payments_check CHECK ((amount_reversed_cents <= amount_cents)),
    CONSTRAINT payments_check1 CHECK ((((status)::text <> ALL (ARRAY['approved'::text, 'processing'::text, 'completed'::text])) OR ((approved_at IS NOT NULL) AND ((approved_by IS NOT NULL) OR ((payer_type)::text = 'driver_ic'::text))))),
    CONSTRAINT payments_check2 CHECK (((approved_by IS NULL) OR (approved_by <> created_by))),
    CONSTRAINT payments_check3 CHECK ((((status)::text = 'completed'::text) = (completed_at IS NOT NULL))),
    CONSTRAINT payments_check4 CHECK ((((status)::text <> 'failed'::text) OR (failure_code IS NOT NULL))),
    CONSTRAINT payments_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payments_failed_reason_check CHECK ((length(failed_reason) <= 500)),
    CONSTRAINT payments_fraud_score_check CHECK (((fraud_score >= (0)::numeric) AND (fraud_score <= (1)::numeric))),
    CONSTRAINT payments_fraud_status_check CHECK (((fraud_status)::text = ANY (ARRAY['not_scored'::text, 'low_risk'::text, 'medium_risk'::text, 'high_risk'::text, 'flagged'::text, 'cleared'::text, 'confirmed'::text]))),
    CONSTRAINT payments_hold_ends CHECK (((hold_until IS NULL) OR on_hold)),
    CONSTRAINT payments_payer_type_check CHECK (((payer_type)::text = ANY (ARRAY['back_office'::text, 'driver_ic'::text]))),
    CONSTRAINT payments_pending_unapproved CHECK ((((status)::text <> 'pending_approval'::text) OR (num_nonnulls(approved_by, approved_at) = 0))),
    CONSTRAINT payments_policy_of_company CHECK (((policy_version IS NULL) OR (company_id IS NOT NULL))),
    CONSTRAINT payments_request_fingerprint_check CHECK ((octet_length(request_fingerprint) = 32)),
    CONSTRAINT payments_required_approvals_check CHECK (((required_approvals >= 1) AND (required_approvals <= 5))),
    CONSTRAINT payments_settlement_status_check CHECK (((settlement_status)::text = ANY (ARRAY['none'::text, 'in_transit'::text, 'paid'::text, 'failed'::text, 'reversed'::text]))),
    CONSTRAINT payments_source_check CHECK (((source)::text = ANY (ARRAY['work_completed'::text, 'command'::text]))),
    CONSTRAINT payments_source_key_check CHECK ((length(source_key) <= 700)),
    CONSTRAINT payments_status_check CHECK (((status)::text = ANY (ARRAY['pending_approval'::text, 'approved'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT payments_vendor_approves_not CHECK (((approved_by IS NULL) OR (approved_by <> vendor_id))),
    CONSTRAINT payments_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY public.payments FORCE ROW LEVEL SECURITY;

ALTER TABLE public.payments OWNER TO payments_owner;

CREATE TABLE public.payout_attempts (
    attempt_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    attempt_no smallint NOT NULL,
    provider character varying(20) NOT NULL,
    operation character varying(20) NOT NULL,
    idempotency_key character varying(255) NOT NULL,
    request_fingerprint bytea NOT NULL,
    destination text,
    amount_cents bigint NOT NULL,
    currency character(3) NOT NULL,
    state character varying(12) NOT NULL,
    failure_code character varying(64),
    provider_object_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    submit_before timestamp with time zone NOT NULL,
    checks smallint DEFAULT 0 NOT NULL,
    next_check_at timestamp with time zone,
    resolved_at timestamp with time zone,
    CONSTRAINT payout_attempts_amount_cents_check CHECK ((amount_cents > 0)),
    CONSTRAINT payout_attempts_attempt_no_check CHECK ((attempt_no > 0)),
    CONSTRAINT payout_attempts_check CHECK ((((state)::text = ANY (ARRAY['succeeded'::text, 'failed'::text])) = (resolved_at IS NOT NULL))),
    CONSTRAINT payout_attempts_check1 CHECK ((((state)::text <> 'succeeded'::text) OR (provider_object_id IS NOT NULL))),
    CONSTRAINT payout_attempts_checks_check CHECK ((checks >= 0)),
    CONSTRAINT payout_attempts_destination_check CHECK ((length(destination) <= 255)),
    CONSTRAINT payout_attempts_operation_check CHECK (((operation)::text = ANY (ARRAY['transfer'::text, 'payment_intent'::text, 'offline'::text]))),
    CONSTRAINT payout_attempts_provider_object_id_check CHECK ((length(provider_object_id) <= 255)),
    CONSTRAINT payout_attempts_request_fingerprint_check CHECK ((octet_length(request_fingerprint) = 32)),
    CONSTRAINT payout_attempts_state_check CHECK (((state)::text = ANY (ARRAY['ready'::text, 'unknown'::text, 'succeeded'::text, 'failed'::text])))
);

ALTER TABLE public.payout_attempts OWNER TO payments_owner;

CREATE TABLE public.payout_reversals (
    provider character varying(20) NOT NULL,
    reversal_id text NOT NULL,
    payment_id uuid NOT NULL,
    attempt_id uuid NOT NULL,
    amount_cents bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    message_key text NOT NULL,
    CONSTRAINT payout_reversals_amount_cents_check CHECK ((amount_cents > 0)),
    CONSTRAINT payout_reversals_message_key_check CHECK ((length(message_key) <= 250)),
    CONSTRAINT payout_reversals_reversal_id_check CHECK ((length(reversal_id) <= 255))
);

ALTER TABLE public.payout_reversals OWNER TO payments_owner;

CREATE TABLE public.reconcile_requests (
    request_id bigint NOT NULL,
    attempt_id uuid NOT NULL,
    requested_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    requested_by text DEFAULT SESSION_USER NOT NULL,
    posted_at timestamp with time zone
);

ALTER TABLE public.reconcile_requests OWNER TO payments_owner;

ALTER TABLE public.reconcile_requests ALTER COLUMN request_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.reconcile_requests_request_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.swept (
    subject_id uuid NOT NULL,
    posted_at timestamp with time zone NOT NULL
);

ALTER TABLE public.swept OWNER TO payments_owner;

CREATE TABLE public.vendor_accounts (
    vendor_id uuid NOT NULL,
    account_id text NOT NULL,
    payouts_enabled boolean NOT NULL,
    requirements text[] NOT NULL,
    as_of timestamp with time zone NOT NULL,
    held_until timestamp with time zone,
    changed_at timestamp with time zone NOT NULL,
    message_key text NOT NULL,
    CONSTRAINT vendor_accounts_account_id_check CHECK ((account_id ~ '^acct_[A-Za-z0-9]{1,250}$'::text)),
    CONSTRAINT vendor_accounts_message_key_check CHECK ((length(message_key) <= 250)),
    CONSTRAINT vendor_accounts_requirements_check CHECK ((cardinality(requirements) <= 50))
);

ALTER TABLE public.vendor_accounts OWNER TO payments_owner;

ALTER TABLE ONLY public.access_audit
    ADD CONSTRAINT access_audit_pkey PRIMARY KEY (access_id);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.approval_policies
    ADD CONSTRAINT approval_policies_pkey PRIMARY KEY (company_id, version);

ALTER TABLE ONLY public.audit_verifications
    ADD CONSTRAINT audit_verifications_pkey PRIMARY KEY (verified_at);

ALTER TABLE ONLY public.failure_replays
    ADD CONSTRAINT failure_replays_pkey PRIMARY KEY (replay_id);

ALTER TABLE ONLY public.failure_replays_sent
    ADD CONSTRAINT failure_replays_sent_pkey PRIMARY KEY (replay_id);

ALTER TABLE ONLY public.fleet_snapshots
    ADD CONSTRAINT fleet_snapshots_pkey PRIMARY KEY (taken_at);

ALTER TABLE ONLY public.heartbeats
    ADD CONSTRAINT heartbeats_pkey PRIMARY KEY (instance_id);

ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_pkey PRIMARY KEY (sub);

ALTER TABLE ONLY public.message_failures
    ADD CONSTRAINT message_failures_pkey PRIMARY KEY (failure_id);

ALTER TABLE ONLY public.message_failures
    ADD CONSTRAINT message_failures_queue_sqs_message_id_key UNIQUE (queue, sqs_message_id);

ALTER TABLE ONLY public.message_inbox
    ADD CONSTRAINT message_inbox_pkey PRIMARY KEY (consumer, message_key);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_event_id_key UNIQUE (event_id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (outbox_id);

ALTER TABLE ONLY public.payment_approvals
    ADD CONSTRAINT payment_approvals_payment_id_level_key UNIQUE (payment_id, level);

ALTER TABLE ONLY public.payment_approvals
    ADD CONSTRAINT payment_approvals_pkey PRIMARY KEY (payment_id, approver_id);

ALTER TABLE ONLY public.payment_audit_log
    ADD CONSTRAINT payment_audit_log_payment_id_seq_key UNIQUE (payment_id, seq);

ALTER TABLE ONLY public.payment_audit_log
    ADD CONSTRAINT payment_audit_log_pkey PRIMARY KEY (log_id);

ALTER TABLE ONLY public.payment_audit_notes
    ADD CONSTRAINT payment_audit_notes_pkey PRIMARY KEY (log_id);

ALTER TABLE ONLY public.payment_line_items
    ADD CONSTRAINT payment_line_items_payment_id_line_no_key UNIQUE (payment_id, line_no);

ALTER TABLE ONLY public.payment_line_items
    ADD CONSTRAINT payment_line_items_pkey PRIMARY KEY (line_item_id);

ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (payment_id);

ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_source_key_key UNIQUE (source_key);

ALTER TABLE ONLY public.payout_attempts
    ADD CONSTRAINT payout_attempts_idempotency_key_key UNIQUE (idempotency_key);

ALTER TABLE ONLY public.payout_attempts
    ADD CONSTRAINT payout_attempts_payment_id_attempt_no_key UNIQUE (payment_id, attempt_no);

ALTER TABLE ONLY public.payout_attempts
    ADD CONSTRAINT payout_attempts_pkey PRIMARY KEY (attempt_id);

ALTER TABLE ONLY public.payout_attempts
    ADD CONSTRAINT payout_attempts_provider_provider_object_id_key UNIQUE (provider, provider_object_id);

ALTER TABLE ONLY public.payout_reversals
    ADD CONSTRAINT payout_reversals_pkey PRIMARY KEY (provider, reversal_id);

ALTER TABLE ONLY public.reconcile_requests
    ADD CONSTRAINT reconcile_requests_pkey PRIMARY KEY (request_id);

ALTER TABLE ONLY public.swept
    ADD CONSTRAINT swept_pkey PRIMARY KEY (subject_id);

ALTER TABLE ONLY public.vendor_accounts
    ADD CONSTRAINT vendor_accounts_pkey PRIMARY KEY (vendor_id);

CREATE INDEX idx_access_audit_actor ON public.access_audit USING btree (actor_id, at) WHERE (actor_id IS NOT NULL);

CREATE INDEX idx_access_audit_at ON public.access_audit USING btree (at);

CREATE INDEX idx_access_audit_object ON public.access_audit USING btree (object_id, at) WHERE (object_id IS NOT NULL);

CREATE INDEX idx_attempt_due ON public.payout_attempts USING btree (next_check_at) WHERE ((state)::text = ANY (ARRAY['ready'::text, 'unknown'::text]));

CREATE INDEX idx_failures_body ON public.message_failures USING btree (body_digest);

CREATE INDEX idx_failures_recent ON public.message_failures USING btree (last_failed_at DESC);

CREATE INDEX idx_inbox_payment ON public.message_inbox USING btree (payment_id) WHERE (payment_id IS NOT NULL);

CREATE INDEX idx_inbox_received ON public.message_inbox USING btree (received_at);

CREATE INDEX idx_inbox_refused_payouts ON public.message_inbox USING btree (payment_id, received_at) WHERE ((consumer = 'ProcessPayment'::text) AND ((outcome)::text = 'refused'::text));

CREATE INDEX idx_memberships_company ON public.memberships USING btree (company_id) WHERE (company_id IS NOT NULL);

CREATE INDEX idx_outbox_aggregate ON public.outbox USING btree (aggregate_id, aggregate_seq);

CREATE INDEX idx_outbox_due ON public.outbox USING btree (available_at, outbox_id) WHERE ((published_at IS NULL) AND (failed_at IS NULL));

CREATE INDEX idx_outbox_published ON public.outbox USING btree (published_at) WHERE (published_at IS NOT NULL);

CREATE INDEX idx_payments_fraud_status ON public.payments USING btree (fraud_status, created_at) WHERE ((fraud_status)::text = ANY (ARRAY['high_risk'::text, 'flagged'::text]));

CREATE INDEX idx_payments_incident ON public.payments USING btree (incident_id);

CREATE INDEX idx_payments_pending ON public.payments USING btree (company_id, created_at, payment_id) WHERE ((status)::text = 'pending_approval'::text);

CREATE INDEX idx_payments_status ON public.payments USING btree (status, created_at);

CREATE INDEX idx_payments_vendor ON public.payments USING btree (vendor_id, created_at DESC, payment_id);

CREATE INDEX idx_replays_failure ON public.failure_replays USING btree (failure_id, replayed_at);

CREATE INDEX idx_requests_unposted ON public.reconcile_requests USING btree (request_id) WHERE (posted_at IS NULL);

CREATE INDEX idx_reversals_payment ON public.payout_reversals USING btree (payment_id);

CREATE INDEX idx_swept_at ON public.swept USING btree (posted_at);

CREATE UNIQUE INDEX ux_attempt_open ON public.payout_attempts USING btree (payment_id) WHERE ((state)::text = ANY (ARRAY['ready'::text, 'unknown'::text]));

CREATE UNIQUE INDEX ux_attempt_success ON public.payout_attempts USING btree (payment_id) WHERE ((state)::text = 'succeeded'::text);

CREATE UNIQUE INDEX ux_payments_live_work ON public.payments USING btree (incident_id, vendor_id) WHERE (((source)::text = 'work_completed'::text) AND ((status)::text <> 'cancelled'::text));

CREATE TRIGGER access_audit_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.access_audit FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('history never changes');

CREATE TRIGGER approval_policies_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.approval_policies FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('a policy never changes: set a new version');

CREATE TRIGGER approval_policies_in_order BEFORE INSERT ON public.approval_policies FOR EACH ROW EXECUTE FUNCTION public.guard_policy_version();

CREATE TRIGGER failure_replays_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.failure_replays FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('replays never change');

CREATE TRIGGER failure_replays_sent_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.failure_replays_sent FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('replays never change');

CREATE TRIGGER memberships_kept BEFORE DELETE OR TRUNCATE ON public.memberships FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('memberships are disabled, never deleted');

CREATE TRIGGER memberships_onward BEFORE UPDATE ON public.memberships FOR EACH ROW WHEN (((new.sub <> old.sub) OR (new.as_of < old.as_of))) EXECUTE FUNCTION public.guard_refuse('an earlier word about a membership counts for nothing');

CREATE TRIGGER message_failures_kept_whole BEFORE TRUNCATE ON public.message_failures FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('failures are deleted one by one, when they are dealt with');

CREATE TRIGGER message_inbox_frozen BEFORE UPDATE OF consumer, message_key, fingerprint, received_at ON public.message_inbox FOR EACH ROW WHEN (((old.consumer IS DISTINCT FROM new.consumer) OR (old.message_key IS DISTINCT FROM new.message_key) OR (old.fingerprint IS DISTINCT FROM new.fingerprint) OR (old.received_at IS DISTINCT FROM new.received_at))) EXECUTE FUNCTION public.guard_refuse('what a message was, and when it came, never changes');

CREATE TRIGGER message_inbox_kept BEFORE DELETE ON public.message_inbox FOR EACH ROW WHEN ((old.received_at > (clock_timestamp() - '18 days'::interval))) EXECUTE FUNCTION public.guard_refuse('a message of the last 18 days may still come back', 'payment_id');

CREATE TRIGGER message_inbox_kept_whole BEFORE TRUNCATE ON public.message_inbox FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('messages that may come back are kept');

CREATE TRIGGER message_inbox_settled_once BEFORE UPDATE OF outcome, outcome_code ON public.message_inbox FOR EACH ROW WHEN ((((old.outcome)::text <> 'applied'::text) AND (((old.outcome)::text IS DISTINCT FROM (new.outcome)::text) OR ((old.outcome_code)::text IS DISTINCT FROM (new.outcome_code)::text)))) EXECUTE FUNCTION public.guard_refuse('how a message ended is said once', 'payment_id', 'outcome');

CREATE TRIGGER outbox_frozen BEFORE UPDATE OF payload, event_id, aggregate_id, aggregate_seq, destination, detail_type, created_at ON public.outbox FOR EACH ROW WHEN (((old.payload IS DISTINCT FROM new.payload) OR (old.event_id IS DISTINCT FROM new.event_id) OR (old.aggregate_id IS DISTINCT FROM new.aggregate_id) OR (old.aggregate_seq IS DISTINCT FROM new.aggregate_seq) OR (old.destination IS DISTINCT FROM new.destination) OR (old.detail_type IS DISTINCT FROM new.detail_type) OR (old.created_at IS DISTINCT FROM new.created_at))) EXECUTE FUNCTION public.guard_refuse('what is to be said never changes', 'event_id');

CREATE TRIGGER outbox_kept BEFORE DELETE ON public.outbox FOR EACH ROW WHEN ((old.published_at IS NULL)) EXECUTE FUNCTION public.guard_refuse('what was not sent is kept', 'event_id');

CREATE TRIGGER outbox_kept_whole BEFORE TRUNCATE ON public.outbox FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('what was not sent is kept');

CREATE TRIGGER payment_approvals_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.payment_approvals FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('an approval is never changed or taken back');

CREATE TRIGGER payment_approvals_count BEFORE INSERT ON public.payment_approvals FOR EACH ROW EXECUTE FUNCTION public.guard_payment_approval();

CREATE TRIGGER payment_approvals_member BEFORE INSERT ON public.payment_approvals FOR EACH ROW EXECUTE FUNCTION public.guard_approver();

CREATE TRIGGER payment_audit_log_action BEFORE INSERT ON public.payment_audit_log FOR EACH ROW EXECUTE FUNCTION public.guard_lifecycle();

CREATE TRIGGER payment_audit_log_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.payment_audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('history never changes');

CREATE TRIGGER payment_audit_log_beneficiary BEFORE INSERT ON public.payment_audit_log FOR EACH ROW WHEN ((((new.action)::text = ANY (ARRAY['held'::text, 'hold_released'::text, 'processing_started'::text])) AND ((new.actor_type)::text <> 'system'::text))) EXECUTE FUNCTION public.guard_beneficiary();

CREATE TRIGGER payment_audit_log_chain BEFORE INSERT ON public.payment_audit_log FOR EACH ROW EXECUTE FUNCTION public.guard_audit_chain();

CREATE TRIGGER payment_audit_log_hold_kept BEFORE INSERT ON public.payment_audit_log FOR EACH ROW WHEN (((new.action)::text = 'approval_recorded'::text)) EXECUTE FUNCTION public.guard_hold_kept();

CREATE CONSTRAINT TRIGGER payment_audit_log_noted AFTER INSERT ON public.payment_audit_log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.note_digest IS NOT NULL)) EXECUTE FUNCTION public.guard_audit_note();

CREATE TRIGGER payment_audit_log_reversed BEFORE INSERT ON public.payment_audit_log FOR EACH ROW WHEN (((new.action)::text = ANY (ARRAY['reversed'::text, 'settlement_changed'::text]))) EXECUTE FUNCTION public.guard_reversed();

CREATE TRIGGER payment_audit_notes_digest BEFORE INSERT ON public.payment_audit_notes FOR EACH ROW EXECUTE FUNCTION public.guard_audit_note();

CREATE TRIGGER payment_audit_notes_kept BEFORE DELETE OR TRUNCATE ON public.payment_audit_notes FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('notes are redacted, never deleted');

CREATE TRIGGER payment_audit_notes_redaction BEFORE UPDATE ON public.payment_audit_notes FOR EACH ROW WHEN ((((new.log_id = old.log_id) AND (old.redacted_at IS NULL) AND (new.redacted_at IS NOT NULL) AND (new.salt IS NULL) AND (new.note IS NULL)) IS NOT TRUE)) EXECUTE FUNCTION public.guard_refuse('a note is redacted once: salt and note go, redacted_at comes', 'log_id');

CREATE TRIGGER payment_line_items_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.payment_line_items FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('line items never change');

CREATE TRIGGER payment_line_items_complete AFTER INSERT ON public.payment_line_items REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.guard_line_items_complete();

CREATE TRIGGER payments_after_completion BEFORE UPDATE ON public.payments FOR EACH ROW WHEN (((((old.status)::text = 'completed'::text) AND ((old.approved_by IS DISTINCT FROM new.approved_by) OR (old.approved_at IS DISTINCT FROM new.approved_at) OR (old.processed_at IS DISTINCT FROM new.processed_at) OR (old.completed_at IS DISTINCT FROM new.completed_at) OR ((old.failure_code)::text IS DISTINCT FROM (new.failure_code)::text) OR (old.failed_reason IS DISTINCT FROM new.failed_reason) OR (old.on_hold IS DISTINCT FROM new.on_hold) OR (old.hold_until IS DISTINCT FROM new.hold_until))) OR ((((old.status)::text <> 'completed'::text) OR ((new.status)::text <> 'completed'::text)) AND ((old.amount_reversed_cents IS DISTINCT FROM new.amount_reversed_cents) OR ((old.settlement_status)::text IS DISTINCT FROM (new.settlement_status)::text))) OR (new.amount_reversed_cents < old.amount_reversed_cents) OR (array_position('{none,in_transit,paid,failed,reversed}'::text[], (new.settlement_status)::text) < array_position('{none,in_transit,paid,failed,reversed}'::text[], (old.settlement_status)::text)))) EXECUTE FUNCTION public.guard_refuse('of a completed payment only reversals and settlement go on', 'payment_id', 'status');

CREATE CONSTRAINT TRIGGER payments_approved AFTER UPDATE ON public.payments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((((old.status)::text = 'pending_approval'::text) AND ((new.status)::text = 'approved'::text))) EXECUTE FUNCTION public.guard_payment_approved();

CREATE TRIGGER payments_begin BEFORE INSERT ON public.payments FOR EACH ROW WHEN ((((new.status)::text <> 'pending_approval'::text) OR (new.version <> 1) OR (num_nonnulls(new.approved_by, new.approved_at, new.processed_at, new.completed_at, new.cancel_kind, new.failure_code, new.failed_reason) > 0))) EXECUTE FUNCTION public.guard_refuse('a payment begins as pending_approval in version 1', 'payment_id', 'status');

CREATE CONSTRAINT TRIGGER payments_explained AFTER INSERT OR UPDATE ON public.payments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.guard_payment_explained();

CREATE TRIGGER payments_frozen BEFORE UPDATE OF payment_id, incident_id, vendor_id, company_id, driver_id, payer_type, payer_id, amount_cents, currency, source, source_key, request_fingerprint, created_by, created_at, metadata, policy_version, required_approvals, approver_roles, separate_releaser ON public.payments FOR EACH ROW WHEN (((old.payment_id IS DISTINCT FROM new.payment_id) OR (old.incident_id IS DISTINCT FROM new.incident_id) OR (old.vendor_id IS DISTINCT FROM new.vendor_id) OR (old.company_id IS DISTINCT FROM new.company_id) OR (old.driver_id IS DISTINCT FROM new.driver_id) OR ((old.payer_type)::text IS DISTINCT FROM (new.payer_type)::text) OR (old.payer_id IS DISTINCT FROM new.payer_id) OR (old.amount_cents IS DISTINCT FROM new.amount_cents) OR (old.currency IS DISTINCT FROM new.currency) OR ((old.source)::text IS DISTINCT FROM (new.source)::text) OR (old.source_key IS DISTINCT FROM new.source_key) OR (old.request_fingerprint IS DISTINCT FROM new.request_fingerprint) OR (old.created_by IS DISTINCT FROM new.created_by) OR (old.created_at IS DISTINCT FROM new.created_at) OR (old.metadata IS DISTINCT FROM new.metadata) OR (old.policy_version IS DISTINCT FROM new.policy_version) OR (old.required_approvals IS DISTINCT FROM new.required_approvals) OR (old.approver_roles IS DISTINCT FROM new.approver_roles) OR (old.separate_releaser IS DISTINCT FROM new.separate_releaser))) EXECUTE FUNCTION public.guard_refuse('what was asked to be paid, to whom and by whom, never changes', 'payment_id');

CREATE TRIGGER payments_kept BEFORE DELETE OR TRUNCATE ON public.payments FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('payments are kept');

CREATE TRIGGER payments_kept_as_they_are BEFORE UPDATE ON public.payments FOR EACH ROW WHEN ((((old.status)::text = (new.status)::text) AND ((old.status)::text = ANY (ARRAY['pending_approval'::text, 'approved'::text])) AND ((old.approved_by IS DISTINCT FROM new.approved_by) OR (old.approved_at IS DISTINCT FROM new.approved_at) OR (old.processed_at IS DISTINCT FROM new.processed_at) OR (old.completed_at IS DISTINCT FROM new.completed_at) OR ((old.failure_code)::text IS DISTINCT FROM (new.failure_code)::text) OR (old.failed_reason IS DISTINCT FROM new.failed_reason)))) EXECUTE FUNCTION public.guard_refuse('a payment that stays where it is only gathers approvals or is held', 'payment_id');

CREATE TRIGGER payments_moves BEFORE UPDATE ON public.payments FOR EACH ROW WHEN ((((((old.status)::text = 'pending_approval'::text) AND ((new.status)::text = 'pending_approval'::text)) OR (((old.status)::text = 'pending_approval'::text) AND ((new.status)::text = 'approved'::text)) OR (((old.status)::text = 'pending_approval'::text) AND ((new.status)::text = 'cancelled'::text)) OR (((old.status)::text = 'approved'::text) AND ((new.status)::text = 'approved'::text)) OR (((old.status)::text = 'approved'::text) AND ((new.status)::text = 'cancelled'::text)) OR (((old.status)::text = 'approved'::text) AND ((new.status)::text = 'processing'::text)) OR (((old.status)::text = 'processing'::text) AND ((new.status)::text = 'processing'::text)) OR (((old.status)::text = 'processing'::text) AND ((new.status)::text = 'completed'::text)) OR (((old.status)::text = 'processing'::text) AND ((new.status)::text = 'failed'::text)) OR (((old.status)::text = 'completed'::text) AND ((new.status)::text = 'completed'::text)) OR (((old.status)::text = 'failed'::text) AND ((new.status)::text = 'processing'::text))) IS NOT TRUE)) EXECUTE FUNCTION public.guard_refuse('the lifecycle has no such move', 'payment_id', 'status');

CREATE TRIGGER payments_set_once BEFORE UPDATE ON public.payments FOR EACH ROW WHEN ((((old.approved_by IS NOT NULL) AND (new.approved_by IS DISTINCT FROM old.approved_by)) OR ((old.approved_at IS NOT NULL) AND (new.approved_at IS DISTINCT FROM old.approved_at)) OR ((old.completed_at IS NOT NULL) AND (new.completed_at IS DISTINCT FROM old.completed_at)) OR ((old.cancel_kind IS NOT NULL) AND ((new.cancel_kind)::text IS DISTINCT FROM (old.cancel_kind)::text)))) EXECUTE FUNCTION public.guard_refuse('who approved, and when and how it ended, is said once', 'payment_id');

CREATE CONSTRAINT TRIGGER payments_settled AFTER UPDATE ON public.payments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.status)::text = ANY (ARRAY['processing'::text, 'completed'::text, 'failed'::text]))) EXECUTE FUNCTION public.guard_payment_settled();

CREATE TRIGGER payments_unblocked BEFORE UPDATE ON public.payments FOR EACH ROW WHEN ((((new.status)::text = ANY (ARRAY['approved'::text, 'processing'::text])) AND ((old.status)::text <> (new.status)::text) AND (new.on_hold OR ((new.fraud_status)::text = ANY (ARRAY['flagged'::text, 'confirmed'::text])) OR (old.on_hold AND ((old.hold_until IS NULL) OR (old.hold_until > clock_timestamp())))))) EXECUTE FUNCTION public.guard_refuse('the payment is held or flagged', 'payment_id', 'status', 'fraud_status');

CREATE TRIGGER payments_version BEFORE UPDATE ON public.payments FOR EACH ROW WHEN ((new.version <> (old.version + 1))) EXECUTE FUNCTION public.guard_refuse('every change is one version on', 'payment_id');

CREATE TRIGGER payout_attempts_agrees BEFORE INSERT OR UPDATE OF state ON public.payout_attempts FOR EACH ROW EXECUTE FUNCTION public.guard_attempt_agrees();

CREATE TRIGGER payout_attempts_begin BEFORE INSERT ON public.payout_attempts FOR EACH ROW WHEN ((((new.state)::text <> 'ready'::text) OR (num_nonnulls(new.provider_object_id, new.failure_code, new.resolved_at) > 0))) EXECUTE FUNCTION public.guard_refuse('an attempt begins as ready', 'attempt_id', 'state');

CREATE TRIGGER payout_attempts_final BEFORE UPDATE ON public.payout_attempts FOR EACH ROW WHEN (((old.state)::text = ANY (ARRAY['succeeded'::text, 'failed'::text]))) EXECUTE FUNCTION public.guard_refuse('a settled attempt changes no more', 'attempt_id', 'state');

CREATE TRIGGER payout_attempts_frozen BEFORE UPDATE OF attempt_id, payment_id, attempt_no, provider, operation, idempotency_key, request_fingerprint, destination, amount_cents, currency, created_at, submit_before ON public.payout_attempts FOR EACH ROW WHEN (((old.attempt_id IS DISTINCT FROM new.attempt_id) OR (old.payment_id IS DISTINCT FROM new.payment_id) OR (old.attempt_no IS DISTINCT FROM new.attempt_no) OR ((old.provider)::text IS DISTINCT FROM (new.provider)::text) OR ((old.operation)::text IS DISTINCT FROM (new.operation)::text) OR ((old.idempotency_key)::text IS DISTINCT FROM (new.idempotency_key)::text) OR (old.request_fingerprint IS DISTINCT FROM new.request_fingerprint) OR (old.destination IS DISTINCT FROM new.destination) OR (old.amount_cents IS DISTINCT FROM new.amount_cents) OR (old.currency IS DISTINCT FROM new.currency) OR (old.created_at IS DISTINCT FROM new.created_at) OR (old.submit_before IS DISTINCT FROM new.submit_before))) EXECUTE FUNCTION public.guard_refuse('what was ordered, under which key and until when, never changes', 'attempt_id');

CREATE TRIGGER payout_attempts_kept BEFORE DELETE OR TRUNCATE ON public.payout_attempts FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('attempts are kept');

CREATE TRIGGER payout_attempts_onward BEFORE UPDATE ON public.payout_attempts FOR EACH ROW WHEN (((new.checks < old.checks) OR (((old.state)::text = 'unknown'::text) AND ((new.state)::text = 'ready'::text)) OR ((old.provider_object_id IS NOT NULL) AND (new.provider_object_id IS DISTINCT FROM old.provider_object_id)))) EXECUTE FUNCTION public.guard_refuse('what is known of an attempt does not become less', 'attempt_id', 'state');

CREATE TRIGGER payout_reversals_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.payout_reversals FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('what came back never changes');

CREATE TRIGGER reconcile_requests_kept BEFORE DELETE OR TRUNCATE ON public.reconcile_requests FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('who asked for a look is kept');

CREATE TRIGGER vendor_accounts_cool_down BEFORE UPDATE ON public.vendor_accounts FOR EACH ROW WHEN ((((new.account_id <> old.account_id) AND ((new.held_until IS NULL) OR (new.held_until < new.changed_at))) OR ((old.held_until IS NOT NULL) AND ((new.held_until IS NULL) OR (new.held_until < old.held_until))))) EXECUTE FUNCTION public.guard_refuse('another account waits for the end of a cool-down, which nothing shortens', 'vendor_id');

CREATE TRIGGER vendor_accounts_kept BEFORE DELETE OR TRUNCATE ON public.vendor_accounts FOR EACH STATEMENT EXECUTE FUNCTION public.guard_refuse('accounts are disabled, never deleted');

CREATE TRIGGER vendor_accounts_onward BEFORE UPDATE ON public.vendor_accounts FOR EACH ROW WHEN (((new.vendor_id <> old.vendor_id) OR (new.as_of < old.as_of))) EXECUTE FUNCTION public.guard_refuse('an earlier word about an account counts for nothing');

ALTER TABLE ONLY public.failure_replays
    ADD CONSTRAINT failure_replays_failure_id_fkey FOREIGN KEY (failure_id) REFERENCES public.message_failures(failure_id);

ALTER TABLE ONLY public.failure_replays_sent
    ADD CONSTRAINT failure_replays_sent_replay_id_fkey FOREIGN KEY (replay_id) REFERENCES public.failure_replays(replay_id);

ALTER TABLE ONLY public.payment_approvals
    ADD CONSTRAINT payment_approvals_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES public.payments(payment_id);

ALTER TABLE ONLY public.payment_audit_log
    ADD CONSTRAINT payment_audit_log_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES public.payments(payment_id);

ALTER TABLE ONLY public.payment_audit_notes
    ADD CONSTRAINT payment_audit_notes_log_id_fkey FOREIGN KEY (log_id) REFERENCES public.payment_audit_log(log_id);

ALTER TABLE ONLY public.payment_line_items
    ADD CONSTRAINT payment_line_items_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES public.payments(payment_id);

ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_policy_fkey FOREIGN KEY (company_id, policy_version) REFERENCES public.approval_policies(company_id, version);

ALTER TABLE ONLY public.payout_attempts
    ADD CONSTRAINT payout_attempts_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES public.payments(payment_id);

ALTER TABLE ONLY public.payout_reversals
    ADD CONSTRAINT payout_reversals_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES public.payout_attempts(attempt_id);

ALTER TABLE ONLY public.payout_reversals
    ADD CONSTRAINT payout_reversals_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES public.payments(payment_id);

ALTER TABLE ONLY public.reconcile_requests
    ADD CONSTRAINT reconcile_requests_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES public.payout_attempts(attempt_id);

CREATE POLICY approvals_of_payments ON public.payment_approvals FOR SELECT TO payments_reader USING (((( SELECT acting_membership.role
   FROM public.acting_membership() acting_membership(role, company_id, vendor_id)) = ANY (ARRAY['admin'::text, 'dispatcher'::text])) AND (EXISTS ( SELECT
   FROM public.payments
  WHERE (payments.payment_id = payment_approvals.payment_id)))));

CREATE POLICY approvals_watched ON public.payment_approvals FOR SELECT TO payments_monitor USING (true);

CREATE POLICY approvals_written ON public.payment_approvals TO payments_owner, payments_worker USING (true) WITH CHECK (true);

CREATE POLICY audit_of_payments ON public.payment_audit_log FOR SELECT TO payments_reader USING (((( SELECT acting_membership.role
   FROM public.acting_membership() acting_membership(role, company_id, vendor_id)) = ANY (ARRAY['admin'::text, 'dispatcher'::text])) AND (EXISTS ( SELECT
   FROM public.payments
  WHERE (payments.payment_id = payment_audit_log.payment_id)))));

CREATE POLICY audit_watched ON public.payment_audit_log FOR SELECT TO payments_monitor USING (true);

CREATE POLICY audit_written ON public.payment_audit_log TO payments_owner, payments_worker USING (true) WITH CHECK (true);

ALTER TABLE public.heartbeats ENABLE ROW LEVEL SECURITY;

CREATE POLICY heartbeats_of_monitors ON public.heartbeats TO payments_monitor USING (true) WITH CHECK ((role = 'monitor'::text));

CREATE POLICY heartbeats_of_readers ON public.heartbeats TO payments_reader USING ((role = 'status'::text)) WITH CHECK ((role = 'status'::text));

CREATE POLICY heartbeats_of_relays ON public.heartbeats TO payments_relay USING ((role = 'relay'::text)) WITH CHECK ((role = 'relay'::text));

CREATE POLICY heartbeats_of_workers ON public.heartbeats TO payments_worker USING ((role = 'worker'::text)) WITH CHECK ((role = 'worker'::text));

CREATE POLICY heartbeats_owned ON public.heartbeats TO payments_owner USING (true) WITH CHECK (true);

CREATE POLICY heartbeats_shown ON public.heartbeats FOR SELECT TO payments_reader USING (true);

CREATE POLICY line_items_of_payments ON public.payment_line_items FOR SELECT TO payments_reader USING ((EXISTS ( SELECT
   FROM public.payments
  WHERE (payments.payment_id = payment_line_items.payment_id))));

CREATE POLICY line_items_watched ON public.payment_line_items FOR SELECT TO payments_monitor USING (true);

CREATE POLICY line_items_written ON public.payment_line_items TO payments_owner, payments_worker USING (true) WITH CHECK (true);

ALTER TABLE public.memberships ENABLE ROW LEVEL SECURITY;

CREATE POLICY memberships_own ON public.memberships FOR SELECT TO payments_reader USING ((sub = (NULLIF(current_setting('app.subject'::text, true), ''::text))::uuid));

CREATE POLICY memberships_watched ON public.memberships FOR SELECT TO payments_monitor USING (true);

CREATE POLICY memberships_written ON public.memberships TO payments_owner, payments_worker USING (true) WITH CHECK (true);

ALTER TABLE public.payment_approvals ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.payment_audit_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.payment_line_items ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.payments ENABLE ROW LEVEL SECURITY;

CREATE POLICY payments_of_admins ON public.payments FOR SELECT TO payments_reader USING ((( SELECT acting_membership.role
   FROM public.acting_membership() acting_membership(role, company_id, vendor_id)) = 'admin'::text));

CREATE POLICY payments_of_dispatchers ON public.payments FOR SELECT TO payments_reader USING ((company_id = ( SELECT acting.company_id
   FROM public.acting_membership() acting(role, company_id, vendor_id)
  WHERE (acting.role = 'dispatcher'::text))));

CREATE POLICY payments_of_vendors ON public.payments FOR SELECT TO payments_reader USING ((vendor_id = ( SELECT acting.vendor_id
   FROM public.acting_membership() acting(role, company_id, vendor_id)
  WHERE (acting.role = 'vendor'::text))));

CREATE POLICY payments_swept ON public.payments FOR SELECT TO payments_relay USING (true);

CREATE POLICY payments_watched ON public.payments FOR SELECT TO payments_monitor USING (true);

CREATE POLICY payments_written ON public.payments TO payments_owner, payments_worker USING (true) WITH CHECK (true);

GRANT ALL ON SCHEMA public TO payments_owner;
GRANT USAGE ON SCHEMA public TO payments_worker;
GRANT USAGE ON SCHEMA public TO payments_relay;
GRANT USAGE ON SCHEMA public TO payments_reader;
GRANT USAGE ON SCHEMA public TO payments_monitor;

GRANT SELECT ON TABLE public.access_audit TO payments_monitor;
GRANT INSERT(at) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(operation) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(operation) ON TABLE public.access_audit TO payments_reader;
GRANT INSERT(operation) ON TABLE public.access_audit TO payments_monitor;
GRANT INSERT(decision) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(decision) ON TABLE public.access_audit TO payments_reader;
GRANT INSERT(decision) ON TABLE public.access_audit TO payments_monitor;
GRANT INSERT(code) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(code) ON TABLE public.access_audit TO payments_reader;
GRANT INSERT(code) ON TABLE public.access_audit TO payments_monitor;
GRANT INSERT(actor_id) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(actor_id) ON TABLE public.access_audit TO payments_reader;
GRANT INSERT(actor_id) ON TABLE public.access_audit TO payments_monitor;
GRANT INSERT(sender) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(object_id) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(object_id) ON TABLE public.access_audit TO payments_reader;
GRANT INSERT(object_id) ON TABLE public.access_audit TO payments_monitor;
GRANT INSERT(message_key) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(proof) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(proof) ON TABLE public.access_audit TO payments_reader;
GRANT INSERT(data) ON TABLE public.access_audit TO payments_worker;
GRANT INSERT(data) ON TABLE public.access_audit TO payments_reader;
GRANT INSERT(data) ON TABLE public.access_audit TO payments_monitor;

GRANT SELECT ON TABLE public.alembic_version TO payments_worker;
GRANT SELECT ON TABLE public.alembic_version TO payments_relay;
GRANT SELECT ON TABLE public.alembic_version TO payments_reader;
GRANT SELECT ON TABLE public.alembic_version TO payments_monitor;

GRANT SELECT,INSERT ON TABLE public.approval_policies TO payments_worker;
GRANT SELECT ON TABLE public.approval_policies TO payments_monitor;

GRANT SELECT ON TABLE public.audit_verifications TO payments_monitor;
GRANT INSERT(payments) ON TABLE public.audit_verifications TO payments_monitor;
GRANT INSERT(links) ON TABLE public.audit_verifications TO payments_monitor;
GRANT INSERT(broken) ON TABLE public.audit_verifications TO payments_monitor;

GRANT SELECT,INSERT ON TABLE public.failure_replays TO payments_monitor;
GRANT SELECT ON TABLE public.failure_replays TO payments_worker;

GRANT SELECT,INSERT ON TABLE public.failure_replays_sent TO payments_monitor;

GRANT SELECT,DELETE ON TABLE public.fleet_snapshots TO payments_monitor;
GRANT SELECT ON TABLE public.fleet_snapshots TO payments_reader;
GRANT INSERT(facts) ON TABLE public.fleet_snapshots TO payments_monitor;

GRANT SELECT ON TABLE public.heartbeats TO payments_worker;
GRANT SELECT ON TABLE public.heartbeats TO payments_relay;
GRANT SELECT ON TABLE public.heartbeats TO payments_reader;
GRANT SELECT,DELETE ON TABLE public.heartbeats TO payments_monitor;
GRANT INSERT(instance_id) ON TABLE public.heartbeats TO payments_worker;
GRANT INSERT(instance_id) ON TABLE public.heartbeats TO payments_relay;
GRANT INSERT(instance_id) ON TABLE public.heartbeats TO payments_reader;
GRANT INSERT(instance_id) ON TABLE public.heartbeats TO payments_monitor;
GRANT INSERT(role) ON TABLE public.heartbeats TO payments_worker;
GRANT INSERT(role) ON TABLE public.heartbeats TO payments_relay;
GRANT INSERT(role) ON TABLE public.heartbeats TO payments_reader;
GRANT INSERT(role) ON TABLE public.heartbeats TO payments_monitor;
GRANT INSERT(version) ON TABLE public.heartbeats TO payments_worker;
GRANT INSERT(version) ON TABLE public.heartbeats TO payments_relay;
GRANT INSERT(version) ON TABLE public.heartbeats TO payments_reader;
GRANT INSERT(version) ON TABLE public.heartbeats TO payments_monitor;
GRANT UPDATE(beaten_at) ON TABLE public.heartbeats TO payments_worker;
GRANT UPDATE(beaten_at) ON TABLE public.heartbeats TO payments_relay;
GRANT UPDATE(beaten_at) ON TABLE public.heartbeats TO payments_reader;
GRANT UPDATE(beaten_at) ON TABLE public.heartbeats TO payments_monitor;
GRANT UPDATE(stopped_at) ON TABLE public.heartbeats TO payments_worker;
GRANT UPDATE(stopped_at) ON TABLE public.heartbeats TO payments_relay;
GRANT UPDATE(stopped_at) ON TABLE public.heartbeats TO payments_reader;
GRANT UPDATE(stopped_at) ON TABLE public.heartbeats TO payments_monitor;
GRANT INSERT(trouble),UPDATE(trouble) ON TABLE public.heartbeats TO payments_worker;
GRANT INSERT(trouble),UPDATE(trouble) ON TABLE public.heartbeats TO payments_relay;
GRANT INSERT(trouble),UPDATE(trouble) ON TABLE public.heartbeats TO payments_reader;
GRANT INSERT(trouble),UPDATE(trouble) ON TABLE public.heartbeats TO payments_monitor;

GRANT SELECT,INSERT ON TABLE public.memberships TO payments_worker;
GRANT SELECT ON TABLE public.memberships TO payments_reader;
GRANT SELECT ON TABLE public.memberships TO payments_monitor;
GRANT UPDATE(role) ON TABLE public.memberships TO payments_worker;
GRANT UPDATE(company_id) ON TABLE public.memberships TO payments_worker;
GRANT UPDATE(vendor_id) ON TABLE public.memberships TO payments_worker;
GRANT UPDATE(enabled) ON TABLE public.memberships TO payments_worker;
GRANT UPDATE(as_of) ON TABLE public.memberships TO payments_worker;
GRANT UPDATE(changed_at) ON TABLE public.memberships TO payments_worker;
GRANT UPDATE(message_key) ON TABLE public.memberships TO payments_worker;

GRANT SELECT,INSERT ON TABLE public.message_failures TO payments_worker;
GRANT SELECT ON TABLE public.message_failures TO payments_monitor;
GRANT UPDATE(outcome) ON TABLE public.message_failures TO payments_worker;
GRANT UPDATE(reason) ON TABLE public.message_failures TO payments_worker;
GRANT UPDATE(detail) ON TABLE public.message_failures TO payments_worker;
GRANT UPDATE(attempts) ON TABLE public.message_failures TO payments_worker;
GRANT UPDATE(last_failed_at) ON TABLE public.message_failures TO payments_worker;
GRANT UPDATE(sender) ON TABLE public.message_failures TO payments_worker;

GRANT SELECT ON TABLE public.message_inbox TO payments_worker;
GRANT DELETE ON TABLE public.message_inbox TO payments_relay;
GRANT SELECT ON TABLE public.message_inbox TO payments_monitor;
GRANT SELECT(consumer) ON TABLE public.message_inbox TO payments_relay;
GRANT INSERT(consumer) ON TABLE public.message_inbox TO payments_worker;
GRANT SELECT(message_key) ON TABLE public.message_inbox TO payments_relay;
GRANT INSERT(message_key) ON TABLE public.message_inbox TO payments_worker;
GRANT INSERT(fingerprint) ON TABLE public.message_inbox TO payments_worker;
GRANT INSERT(outcome),UPDATE(outcome) ON TABLE public.message_inbox TO payments_worker;
GRANT SELECT(outcome) ON TABLE public.message_inbox TO payments_relay;
GRANT INSERT(outcome_code),UPDATE(outcome_code) ON TABLE public.message_inbox TO payments_worker;
GRANT SELECT(outcome_code) ON TABLE public.message_inbox TO payments_relay;
GRANT INSERT(payment_id),UPDATE(payment_id) ON TABLE public.message_inbox TO payments_worker;
GRANT SELECT(payment_id) ON TABLE public.message_inbox TO payments_relay;
GRANT SELECT(received_at) ON TABLE public.message_inbox TO payments_relay;

GRANT SELECT,DELETE ON TABLE public.outbox TO payments_relay;
GRANT SELECT ON TABLE public.outbox TO payments_monitor;
GRANT SELECT(event_id),INSERT(event_id) ON TABLE public.outbox TO payments_worker;
GRANT INSERT(aggregate_id) ON TABLE public.outbox TO payments_worker;
GRANT INSERT(aggregate_seq) ON TABLE public.outbox TO payments_worker;
GRANT INSERT(destination) ON TABLE public.outbox TO payments_worker;
GRANT INSERT(detail_type) ON TABLE public.outbox TO payments_worker;
GRANT INSERT(payload) ON TABLE public.outbox TO payments_worker;
GRANT UPDATE(available_at) ON TABLE public.outbox TO payments_relay;
GRANT INSERT(available_at) ON TABLE public.outbox TO payments_worker;
GRANT UPDATE(attempts) ON TABLE public.outbox TO payments_relay;
GRANT UPDATE(published_at) ON TABLE public.outbox TO payments_relay;
GRANT UPDATE(bus_event_id) ON TABLE public.outbox TO payments_relay;
GRANT UPDATE(failed_at) ON TABLE public.outbox TO payments_relay;
GRANT INSERT(created_at) ON TABLE public.outbox TO payments_worker;
GRANT INSERT(traceparent) ON TABLE public.outbox TO payments_worker;

GRANT SELECT,INSERT ON TABLE public.payment_approvals TO payments_worker;
GRANT SELECT ON TABLE public.payment_approvals TO payments_reader;
GRANT SELECT ON TABLE public.payment_approvals TO payments_monitor;

GRANT SELECT,INSERT ON TABLE public.payment_audit_log TO payments_worker;
GRANT SELECT ON TABLE public.payment_audit_log TO payments_reader;
GRANT SELECT ON TABLE public.payment_audit_log TO payments_monitor;

GRANT INSERT ON TABLE public.payment_audit_notes TO payments_worker;
GRANT SELECT(log_id) ON TABLE public.payment_audit_notes TO payments_worker;

GRANT SELECT ON TABLE public.payment_audit_note_digests TO payments_monitor;

GRANT SELECT,INSERT ON TABLE public.payment_line_items TO payments_worker;
GRANT SELECT ON TABLE public.payment_line_items TO payments_reader;
GRANT SELECT ON TABLE public.payment_line_items TO payments_monitor;

GRANT SELECT ON TABLE public.payments TO payments_worker;
GRANT SELECT ON TABLE public.payments TO payments_reader;
GRANT SELECT ON TABLE public.payments TO payments_monitor;
GRANT INSERT(payment_id) ON TABLE public.payments TO payments_worker;
GRANT SELECT(payment_id) ON TABLE public.payments TO payments_relay;
GRANT INSERT(incident_id) ON TABLE public.payments TO payments_worker;
GRANT INSERT(vendor_id) ON TABLE public.payments TO payments_worker;
GRANT SELECT(vendor_id) ON TABLE public.payments TO payments_relay;
GRANT INSERT(company_id) ON TABLE public.payments TO payments_worker;
GRANT INSERT(driver_id) ON TABLE public.payments TO payments_worker;
GRANT INSERT(payer_type) ON TABLE public.payments TO payments_worker;
GRANT SELECT(payer_type) ON TABLE public.payments TO payments_relay;
GRANT INSERT(payer_id) ON TABLE public.payments TO payments_worker;
GRANT INSERT(amount_cents) ON TABLE public.payments TO payments_worker;
GRANT INSERT(currency) ON TABLE public.payments TO payments_worker;
GRANT INSERT(status),UPDATE(status) ON TABLE public.payments TO payments_worker;
GRANT SELECT(status) ON TABLE public.payments TO payments_relay;
GRANT INSERT(source) ON TABLE public.payments TO payments_worker;
GRANT INSERT(source_key) ON TABLE public.payments TO payments_worker;
GRANT INSERT(request_fingerprint) ON TABLE public.payments TO payments_worker;
GRANT INSERT(created_by) ON TABLE public.payments TO payments_worker;
GRANT INSERT(fraud_status) ON TABLE public.payments TO payments_worker;
GRANT SELECT(fraud_status) ON TABLE public.payments TO payments_relay;
GRANT UPDATE(approved_by) ON TABLE public.payments TO payments_worker;
GRANT UPDATE(approved_at) ON TABLE public.payments TO payments_worker;
GRANT UPDATE(processed_at) ON TABLE public.payments TO payments_worker;
GRANT UPDATE(completed_at) ON TABLE public.payments TO payments_worker;
GRANT UPDATE(failure_code) ON TABLE public.payments TO payments_worker;
GRANT UPDATE(failed_reason) ON TABLE public.payments TO payments_worker;
GRANT UPDATE(amount_reversed_cents) ON TABLE public.payments TO payments_worker;
GRANT UPDATE(settlement_status) ON TABLE public.payments TO payments_worker;
GRANT INSERT(policy_version) ON TABLE public.payments TO payments_worker;
GRANT UPDATE(on_hold) ON TABLE public.payments TO payments_worker;
GRANT SELECT(on_hold) ON TABLE public.payments TO payments_relay;
GRANT UPDATE(hold_until) ON TABLE public.payments TO payments_worker;
GRANT SELECT(hold_until) ON TABLE public.payments TO payments_relay;
GRANT UPDATE(cancel_kind) ON TABLE public.payments TO payments_worker;
GRANT INSERT(metadata) ON TABLE public.payments TO payments_worker;
GRANT INSERT(audit_head),UPDATE(audit_head) ON TABLE public.payments TO payments_worker;
GRANT INSERT(version),UPDATE(version) ON TABLE public.payments TO payments_worker;
GRANT SELECT(version) ON TABLE public.payments TO payments_relay;
GRANT INSERT(created_at) ON TABLE public.payments TO payments_worker;
GRANT SELECT(created_at) ON TABLE public.payments TO payments_relay;
GRANT INSERT(updated_at),UPDATE(updated_at) ON TABLE public.payments TO payments_worker;
GRANT SELECT(updated_at) ON TABLE public.payments TO payments_relay;
GRANT INSERT(required_approvals) ON TABLE public.payments TO payments_worker;
GRANT INSERT(approver_roles) ON TABLE public.payments TO payments_worker;
GRANT INSERT(separate_releaser) ON TABLE public.payments TO payments_worker;
GRANT SELECT(separate_releaser) ON TABLE public.payments TO payments_relay;

GRANT SELECT ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT ON TABLE public.payout_attempts TO payments_monitor;
GRANT INSERT(attempt_id) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(attempt_id) ON TABLE public.payout_attempts TO payments_relay;
GRANT INSERT(payment_id) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(payment_id) ON TABLE public.payout_attempts TO payments_relay;
GRANT INSERT(attempt_no) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(attempt_no) ON TABLE public.payout_attempts TO payments_relay;
GRANT INSERT(provider) ON TABLE public.payout_attempts TO payments_worker;
GRANT INSERT(operation) ON TABLE public.payout_attempts TO payments_worker;
GRANT INSERT(idempotency_key) ON TABLE public.payout_attempts TO payments_worker;
GRANT INSERT(request_fingerprint) ON TABLE public.payout_attempts TO payments_worker;
GRANT INSERT(destination) ON TABLE public.payout_attempts TO payments_worker;
GRANT INSERT(amount_cents) ON TABLE public.payout_attempts TO payments_worker;
GRANT INSERT(currency) ON TABLE public.payout_attempts TO payments_worker;
GRANT INSERT(state),UPDATE(state) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(state) ON TABLE public.payout_attempts TO payments_relay;
GRANT SELECT(state) ON TABLE public.payout_attempts TO payments_reader;
GRANT UPDATE(failure_code) ON TABLE public.payout_attempts TO payments_worker;
GRANT UPDATE(provider_object_id) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(created_at) ON TABLE public.payout_attempts TO payments_relay;
GRANT INSERT(created_at) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(created_at) ON TABLE public.payout_attempts TO payments_reader;
GRANT INSERT(submit_before) ON TABLE public.payout_attempts TO payments_worker;
GRANT INSERT(checks),UPDATE(checks) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(checks) ON TABLE public.payout_attempts TO payments_relay;
GRANT INSERT(next_check_at),UPDATE(next_check_at) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(next_check_at) ON TABLE public.payout_attempts TO payments_relay;
GRANT UPDATE(resolved_at) ON TABLE public.payout_attempts TO payments_worker;
GRANT SELECT(resolved_at) ON TABLE public.payout_attempts TO payments_relay;

GRANT SELECT,INSERT ON TABLE public.payout_reversals TO payments_worker;
GRANT SELECT ON TABLE public.payout_reversals TO payments_monitor;

GRANT SELECT ON TABLE public.reconcile_requests TO payments_monitor;
GRANT SELECT ON TABLE public.reconcile_requests TO payments_relay;
GRANT INSERT(attempt_id) ON TABLE public.reconcile_requests TO payments_monitor;
GRANT UPDATE(posted_at) ON TABLE public.reconcile_requests TO payments_relay;

GRANT SELECT,INSERT,DELETE ON TABLE public.swept TO payments_relay;
GRANT UPDATE(posted_at) ON TABLE public.swept TO payments_relay;

GRANT SELECT,INSERT ON TABLE public.vendor_accounts TO payments_worker;
GRANT SELECT ON TABLE public.vendor_accounts TO payments_monitor;
GRANT SELECT(vendor_id) ON TABLE public.vendor_accounts TO payments_relay;
GRANT UPDATE(account_id) ON TABLE public.vendor_accounts TO payments_worker;
GRANT UPDATE(payouts_enabled) ON TABLE public.vendor_accounts TO payments_worker;
GRANT SELECT(payouts_enabled) ON TABLE public.vendor_accounts TO payments_relay;
GRANT UPDATE(requirements) ON TABLE public.vendor_accounts TO payments_worker;
GRANT UPDATE(as_of) ON TABLE public.vendor_accounts TO payments_worker;
GRANT UPDATE(held_until) ON TABLE public.vendor_accounts TO payments_worker;
GRANT SELECT(held_until) ON TABLE public.vendor_accounts TO payments_relay;
GRANT UPDATE(changed_at) ON TABLE public.vendor_accounts TO payments_worker;
GRANT UPDATE(message_key) ON TABLE public.vendor_accounts TO payments_worker;
