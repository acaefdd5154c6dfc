-- Registrations by the Idempotency-Key that they were sent with: a client whose connection broke asks again and learns what
-- became of the first attempt. Kept for a day.
CREATE TABLE registration_keys (
    -- SHA-256 of the key: clients choose it, perhaps from what is nobody's business.
    key_hash bytea PRIMARY KEY CHECK (octet_length(key_hash) = 32),
    -- A keyed hash of what was sent, but for the password: a fast hash of that would undo what the slow one is for.
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    user_id uuid NOT NULL UNIQUE REFERENCES users (id),
    -- As the first answer had it.
    referral_status text,
    created_at timestamptz NOT NULL
);
CREATE INDEX registration_keys_created ON registration_keys (created_at);
