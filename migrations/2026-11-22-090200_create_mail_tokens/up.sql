-- A confirmation of an e-mail address. The worker mints the token and stores its SHA-256.
CREATE TABLE email_verifications (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    email text NOT NULL,
    token_hash bytea UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX email_verifications_user ON email_verifications (user_id);
CREATE INDEX email_verifications_expiry ON email_verifications (expires_at);

-- A request for a new password. The request writes the address only and looks nobody up; the worker finds the account
-- and removes the address.
CREATE TABLE password_resets (
    id uuid PRIMARY KEY,
    email text,
    user_id uuid REFERENCES users (id),
    token_hash bytea UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Used, overtaken by a newer request, or void because the account changed.
    closed_at timestamptz
);
CREATE INDEX password_resets_user ON password_resets (user_id) WHERE closed_at IS NULL;
CREATE INDEX password_resets_email ON password_resets (email) WHERE closed_at IS NULL;
CREATE INDEX password_resets_expiry ON password_resets (expires_at);
