-- Who put which failed message back into its queue, and why. A row is written before the message is sent; a second one,
-- once the queue has taken it, says so. Neither is ever changed: an attempt without its second row was not sent, or
-- nobody knows whether it was, and is made again.

SET LOCAL ROLE payments_owner;

CREATE TABLE failure_replays (
    replay_id UUID PRIMARY KEY,
    failure_id UUID NOT NULL REFERENCES message_failures,
    actor_id UUID NOT NULL,
    reason TEXT NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    replayed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX idx_replays_failure ON failure_replays (failure_id, replayed_at);

CREATE TABLE failure_replays_sent (
    replay_id UUID PRIMARY KEY REFERENCES failure_replays,
    sqs_message_id TEXT NOT NULL CHECK (length(sqs_message_id) <= 128), -- a message sent again is a new one to its queue
    sent_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT, INSERT ON failure_replays, failure_replays_sent TO payments_monitor;

RESET ROLE;
