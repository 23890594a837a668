-- Who put which failed message back into its queue, and why. A row is written before the message is sent.

SET LOCAL ROLE payments_owner;

CREATE TABLE failure_replays (
    replay_id UUID PRIMARY KEY,
    failure_id UUID NOT NULL REFERENCES message_failures,
    actor_id UUID NOT NULL,
    reason TEXT NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    replayed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX idx_replays_failure ON failure_replays (failure_id, replayed_at);

GRANT SELECT, INSERT ON failure_replays TO payments_monitor;

RESET ROLE;
