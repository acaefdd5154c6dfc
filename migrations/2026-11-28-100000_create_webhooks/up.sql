-- What other systems are told: who listens, and what was sent to whom. An event itself is a row of the outbox, written in the
-- transaction of what it tells of.
ALTER TABLE outbox DROP CONSTRAINT outbox_queue_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_queue_check CHECK (queue IN ('mail', 'rewards', 'maintenance', 'webhooks'));

CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    url text NOT NULL,
    description text NOT NULL DEFAULT '',
    -- What it is told of; empty: everything.
    events text[] NOT NULL DEFAULT '{}',
    -- Sealed: whoever reads the database can sign nothing.
    sealed_secret bytea NOT NULL,
    -- The one before signs beside it for a while.
    previous_secret bytea,
    previous_until timestamptz,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    disabled_reason text CHECK (disabled_reason IN ('manager', 'gone', 'failing')),
    -- Since when nothing was taken, how many rounds of attempts failed since, and when the next may begin.
    failing_since timestamptz,
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);

CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    -- The row of the outbox that promised to tell of it: its id is what the receiver knows the event by.
    event_id uuid NOT NULL,
    event text NOT NULL,
    -- To the byte, as it is signed. Ids, words and amounts: no name and no address.
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    last_attempt_at timestamptz,
    last_status smallint,
    last_error text,
    delivered_at timestamptz,
    failed_at timestamptz,
    -- One event goes to an endpoint once, however often it is fanned out.
    UNIQUE (endpoint_id, event_id),
    CHECK (delivered_at IS NULL OR failed_at IS NULL)
);
CREATE INDEX webhook_deliveries_listed ON webhook_deliveries (endpoint_id, created_at DESC, id DESC);
-- The few that a manager looks for among the many.
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (endpoint_id, created_at DESC, id DESC)
    WHERE delivered_at IS NULL AND failed_at IS NULL;
CREATE INDEX webhook_deliveries_failed ON webhook_deliveries (endpoint_id, created_at DESC, id DESC)
    WHERE failed_at IS NOT NULL;
CREATE INDEX webhook_deliveries_created ON webhook_deliveries (created_at);
