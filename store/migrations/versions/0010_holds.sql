-- Who is paid lifts or changes no hold and starts no payout, an approval lifts no hold, and whose message it was that
-- failed.

SET LOCAL ROLE payments_owner;

-- The IAM role or user that sent it: an operator who puts it back does not make it somebody else's.
ALTER TABLE message_failures ADD COLUMN sender TEXT CHECK (length(sender) <= 128);
GRANT UPDATE (sender) ON message_failures TO payments_worker; -- of a row that a release before this one began

-- What sets a payment going again is as much a decision as its approval: four eyes hold for it too. Anybody may stop a
-- payment; another end for a hold that stands may be its end. An approval lifts a hold that is over.
CREATE FUNCTION guard_beneficiary() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER payment_audit_log_beneficiary BEFORE INSERT ON payment_audit_log FOR EACH ROW
    WHEN (NEW.action IN ('held', 'hold_released', 'processing_started') AND NEW.actor_type <> 'system')
    EXECUTE FUNCTION guard_beneficiary();

-- A recorded approval finds no hold that still lasts, and leaves one that is over as it is.
CREATE FUNCTION guard_hold_kept() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER payment_audit_log_hold_kept BEFORE INSERT ON payment_audit_log FOR EACH ROW
    WHEN (NEW.action = 'approval_recorded')
    EXECUTE FUNCTION guard_hold_kept();

RESET ROLE;
