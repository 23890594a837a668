-- What the read endpoint may see, decided by the database a second time, by our own memberships and not by its word.
--
-- A reader's transaction says whose token it holds (app.subject) and which groups the token names (app.groups), both
-- set LOCAL to it. Nothing said is nothing seen. FORCE holds the owner to the same tables' policies; its own lets it
-- through, so that a migration is not silently blind.

SET LOCAL ROLE payments_owner;

-- The membership of whom the transaction reads for; none where it is disabled or its role is not among the groups.
CREATE FUNCTION acting_membership() RETURNS TABLE (role TEXT, company_id UUID, vendor_id UUID)
LANGUAGE sql STABLE AS $$
    SELECT member.role, member.company_id, member.vendor_id FROM public.memberships AS member
    WHERE member.sub = NULLIF(current_setting('app.subject', true), '')::uuid AND member.enabled
        AND member.role = ANY (string_to_array(current_setting('app.groups', true), ','))
$$;

ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments FORCE ROW LEVEL SECURITY;
ALTER TABLE payment_line_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_line_items FORCE ROW LEVEL SECURITY;
ALTER TABLE payment_audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_audit_log FORCE ROW LEVEL SECURITY;
ALTER TABLE payment_approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_approvals FORCE ROW LEVEL SECURITY;
ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE memberships FORCE ROW LEVEL SECURITY;

CREATE POLICY payments_written ON payments TO payments_owner, payments_worker USING (true) WITH CHECK (true);
CREATE POLICY payments_watched ON payments FOR SELECT TO payments_monitor USING (true);
-- Sub-selects are evaluated once for a statement, and not for each of its rows.
CREATE POLICY payments_of_admins ON payments FOR SELECT TO payments_reader
    USING ((SELECT role FROM acting_membership()) = 'admin');
CREATE POLICY payments_of_dispatchers ON payments FOR SELECT TO payments_reader
    USING (company_id = (SELECT acting.company_id FROM acting_membership() AS acting WHERE acting.role = 'dispatcher'));
CREATE POLICY payments_of_vendors ON payments FOR SELECT TO payments_reader
    USING (vendor_id = (SELECT acting.vendor_id FROM acting_membership() AS acting WHERE acting.role = 'vendor'));

CREATE POLICY line_items_written ON payment_line_items TO payments_owner, payments_worker USING (true) WITH CHECK (true);
CREATE POLICY line_items_watched ON payment_line_items FOR SELECT TO payments_monitor USING (true);
CREATE POLICY line_items_of_payments ON payment_line_items FOR SELECT TO payments_reader
    USING (EXISTS (SELECT FROM payments WHERE payments.payment_id = payment_line_items.payment_id));

-- The history and who has approved are the back office's; a vendor sees the payment and no more.
CREATE POLICY audit_written ON payment_audit_log TO payments_owner, payments_worker USING (true) WITH CHECK (true);
CREATE POLICY audit_watched ON payment_audit_log FOR SELECT TO payments_monitor USING (true);
CREATE POLICY audit_of_payments ON payment_audit_log FOR SELECT TO payments_reader
    USING (
        (SELECT role FROM acting_membership()) IN ('admin', 'dispatcher')
        AND EXISTS (SELECT FROM payments WHERE payments.payment_id = payment_audit_log.payment_id)
    );

CREATE POLICY approvals_written ON payment_approvals TO payments_owner, payments_worker USING (true) WITH CHECK (true);
CREATE POLICY approvals_watched ON payment_approvals FOR SELECT TO payments_monitor USING (true);
CREATE POLICY approvals_of_payments ON payment_approvals FOR SELECT TO payments_reader
    USING (
        (SELECT role FROM acting_membership()) IN ('admin', 'dispatcher')
        AND EXISTS (SELECT FROM payments WHERE payments.payment_id = payment_approvals.payment_id)
    );

CREATE POLICY memberships_written ON memberships TO payments_owner, payments_worker USING (true) WITH CHECK (true);
CREATE POLICY memberships_watched ON memberships FOR SELECT TO payments_monitor USING (true);
CREATE POLICY memberships_own ON memberships FOR SELECT TO payments_reader
    USING (sub = NULLIF(current_setting('app.subject', true), '')::uuid);

-- What was said and what came in is the operators' to read; of attempts /ready counts the unknown ones.
REVOKE SELECT ON message_inbox, outbox, payout_attempts FROM payments_reader;
GRANT SELECT (state, created_at) ON payout_attempts TO payments_reader;

RESET ROLE;
