-- Who may do what, and who tried what they may not.

SET LOCAL ROLE payments_owner;

-- What a person may do, by our own word; tokens only ever narrow it. `sub` is how their tokens name them.
CREATE TABLE memberships (
    sub UUID PRIMARY KEY,
    role TEXT NOT NULL CHECK (role IN ('dispatcher', 'admin', 'vendor')),
    company_id UUID,
    vendor_id UUID,
    enabled BOOLEAN NOT NULL,
    as_of TIMESTAMPTZ NOT NULL, -- when it was said, by the queue's clock: an earlier word that arrives later is none
    changed_at TIMESTAMPTZ NOT NULL,
    message_key TEXT NOT NULL CHECK (length(message_key) <= 250),
    CONSTRAINT memberships_dispatcher_of_company CHECK (role <> 'dispatcher' OR company_id IS NOT NULL),
    CONSTRAINT memberships_vendor_of_vendor CHECK (role <> 'vendor' OR vendor_id IS NOT NULL)
);
CREATE INDEX idx_memberships_company ON memberships (company_id) WHERE company_id IS NOT NULL;

CREATE TRIGGER memberships_onward BEFORE UPDATE ON memberships FOR EACH ROW
    WHEN (NEW.sub <> OLD.sub OR NEW.as_of < OLD.as_of)
    EXECUTE FUNCTION guard_refuse('an earlier word about a membership counts for nothing');

CREATE TRIGGER memberships_kept BEFORE DELETE OR TRUNCATE ON memberships FOR EACH STATEMENT
    EXECUTE FUNCTION guard_refuse('memberships are disabled, never deleted');

-- Denied commands and reads, what was read of the audit log, and changes of rights. No token, no free text.
CREATE TABLE access_audit (
    access_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    operation TEXT NOT NULL CHECK (length(operation) <= 64), -- a command's kind, or a read as in the matrix
    decision TEXT NOT NULL CHECK (decision IN ('allowed', 'denied')),
    code TEXT CHECK (length(code) <= 64),
    actor_id UUID, -- absent where nobody could be made out
    sender TEXT CHECK (length(sender) <= 128), -- the IAM role or user that sent the message
    object_id UUID, -- the payment, company or person that it was about
    message_key TEXT CHECK (length(message_key) <= 250),
    proof JSONB NOT NULL DEFAULT '{}', -- of the token: clientId, jti, kid, iat, exp, or why it was none
    data JSONB NOT NULL DEFAULT '{}',
    CHECK ((decision = 'denied') = (code IS NOT NULL))
);
CREATE INDEX idx_access_audit_at ON access_audit (at);
CREATE INDEX idx_access_audit_actor ON access_audit (actor_id, at) WHERE actor_id IS NOT NULL;
CREATE INDEX idx_access_audit_object ON access_audit (object_id, at) WHERE object_id IS NOT NULL;

CREATE TRIGGER access_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON access_audit
    FOR EACH STATEMENT EXECUTE FUNCTION guard_refuse('history never changes');

-- How a message that comes back under another id is known to be one that failed here before.
CREATE INDEX idx_failures_body ON message_failures (body_digest);

-- The members' own table knows who acts for the vendor, and who is nobody any more.
CREATE FUNCTION guard_approver() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER payment_approvals_member BEFORE INSERT ON payment_approvals FOR EACH ROW
    EXECUTE FUNCTION guard_approver();

GRANT SELECT, INSERT, UPDATE (role, company_id, vendor_id, enabled, as_of, changed_at, message_key) ON memberships
    TO payments_worker;
GRANT SELECT ON memberships TO payments_reader, payments_monitor;
GRANT INSERT (at, operation, decision, code, actor_id, sender, object_id, message_key, proof, data) ON access_audit
    TO payments_worker;
GRANT INSERT (operation, decision, code, actor_id, object_id, proof, data) ON access_audit TO payments_reader;
GRANT INSERT (operation, decision, code, actor_id, object_id, data) ON access_audit TO payments_monitor;
GRANT SELECT ON access_audit TO payments_monitor;
GRANT SELECT ON failure_replays TO payments_worker; -- whether a message that an operator sent is one put back

RESET ROLE;
