-- The second factor of an account: one authenticator app (TOTP, RFC 6238) at most.
CREATE TABLE totp_factors (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL UNIQUE REFERENCES users (id),
    -- AES-256-GCM, bound to this row's id, under a key that is not in the database.
    sealed_secret bytea NOT NULL,
    created_at timestamptz NOT NULL,
    -- NULL until its first code: nobody is asked for it before.
    confirmed_at timestamptz,
    -- The time step of the last code that was taken: no code of it or of an earlier one is taken again.
    last_step bigint,
    last_used_at timestamptz,
    CHECK (confirmed_at IS NULL OR (last_step IS NOT NULL AND last_used_at IS NOT NULL))
);
CREATE INDEX totp_factors_pending ON totp_factors (created_at) WHERE confirmed_at IS NULL;

-- What stands in for the app when it is lost. Each is good for one use; only its SHA-256 is here.
CREATE TABLE recovery_codes (
    code_hash bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX recovery_codes_user ON recovery_codes (user_id);
