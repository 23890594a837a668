-- What the fleet says of itself. Nothing here is about a payment, a person or a company: counts, ages and states only.

SET LOCAL ROLE payments_owner;

-- Each process of the fleet, by an id that it makes at its start. One that has not been heard of for long is gone.
CREATE TABLE heartbeats (
    instance_id UUID PRIMARY KEY,
    role TEXT NOT NULL CONSTRAINT heartbeats_role CHECK (role IN ('worker', 'relay', 'monitor', 'status')),
    version TEXT NOT NULL CONSTRAINT heartbeats_version CHECK (length(version) <= 64),
    started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    beaten_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    stopped_at TIMESTAMPTZ, -- when it ended in good order
    -- Why it could not do its work, in its own words; NULL where it could.
    trouble TEXT CONSTRAINT heartbeats_trouble CHECK (length(trouble) <= 200)
);

-- What the monitor found, one row per look, for the status page and its little charts; pruned after hours.
CREATE TABLE fleet_snapshots (
    taken_at TIMESTAMPTZ PRIMARY KEY DEFAULT clock_timestamp(),
    facts JSONB NOT NULL CONSTRAINT fleet_snapshots_facts CHECK (jsonb_typeof(facts) = 'object')
);

-- Each verification of all audit chains (PCI DSS 4.0.1, requirement 10.4): kept, so that a monitor that was started
-- again knows when it was last done.
CREATE TABLE audit_verifications (
    verified_at TIMESTAMPTZ PRIMARY KEY DEFAULT clock_timestamp(),
    payments BIGINT NOT NULL CONSTRAINT audit_verifications_payments CHECK (payments >= 0),
    links BIGINT NOT NULL CONSTRAINT audit_verifications_links CHECK (links >= 0),
    broken BIGINT NOT NULL CONSTRAINT audit_verifications_broken CHECK (broken >= 0)
);

-- W3C Trace Context: 55 characters. As a varchar, so that nothing that is there is looked through under a lock.
ALTER TABLE outbox ADD COLUMN traceparent VARCHAR(55);

-- Each role speaks of its own processes; the page and the monitor read of all.
ALTER TABLE heartbeats ENABLE ROW LEVEL SECURITY;
ALTER TABLE heartbeats FORCE ROW LEVEL SECURITY;
CREATE POLICY heartbeats_owned ON heartbeats TO payments_owner USING (true) WITH CHECK (true);
CREATE POLICY heartbeats_of_workers ON heartbeats TO payments_worker
    USING (role = 'worker') WITH CHECK (role = 'worker');
CREATE POLICY heartbeats_of_relays ON heartbeats TO payments_relay USING (role = 'relay') WITH CHECK (role = 'relay');
CREATE POLICY heartbeats_of_readers ON heartbeats TO payments_reader
    USING (role = 'status') WITH CHECK (role = 'status');
CREATE POLICY heartbeats_of_monitors ON heartbeats TO payments_monitor USING (true) WITH CHECK (role = 'monitor');
CREATE POLICY heartbeats_shown ON heartbeats FOR SELECT TO payments_reader USING (true);

-- Grants --------------------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT (instance_id, role, version, trouble), UPDATE (beaten_at, stopped_at, trouble) ON heartbeats
    TO payments_worker, payments_relay, payments_reader, payments_monitor;
GRANT DELETE ON heartbeats TO payments_monitor;
GRANT SELECT, INSERT (facts), DELETE ON fleet_snapshots TO payments_monitor;
GRANT SELECT ON fleet_snapshots TO payments_reader;
GRANT SELECT, INSERT (payments, links, broken) ON audit_verifications TO payments_monitor;
GRANT INSERT (traceparent) ON outbox TO payments_worker;

RESET ROLE;
