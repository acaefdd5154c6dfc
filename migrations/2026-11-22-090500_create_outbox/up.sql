-- Jobs. PostgreSQL owns a job; Redis only carries its id. Payloads hold ids, never an address, a token or a link.
CREATE TABLE outbox (
    id uuid PRIMARY KEY,
    queue text NOT NULL CHECK (queue IN ('mail', 'rewards', 'maintenance')),
    kind text NOT NULL,
    version smallint NOT NULL,
    payload jsonb NOT NULL,
    dedupe_key text UNIQUE,
    request_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The relay pushes the id (again) when this has passed.
    due_at timestamptz NOT NULL,
    -- How often it was pushed.
    generation integer NOT NULL DEFAULT 0,
    -- Nobody claims it before: it is being worked on, or waits for its next attempt.
    leased_until timestamptz,
    lease_token uuid,
    attempts smallint NOT NULL DEFAULT 0,
    done_at timestamptz,
    dead_at timestamptz,
    last_error text,
    CHECK (done_at IS NULL OR dead_at IS NULL)
);
CREATE INDEX outbox_due ON outbox (queue, due_at) WHERE done_at IS NULL AND dead_at IS NULL;
CREATE INDEX outbox_done ON outbox (done_at) WHERE done_at IS NOT NULL;
CREATE INDEX outbox_dead ON outbox (dead_at) WHERE dead_at IS NOT NULL;
