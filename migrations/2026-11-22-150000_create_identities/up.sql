-- Accounts at identity providers that sign in to an account here. The issuer and its subject name a person; an address does not.
CREATE TABLE identities (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    -- The provider's name in the settings, for people; it may be renamed.
    provider text NOT NULL,
    issuer text NOT NULL,
    subject text NOT NULL,
    -- As the provider told it when it was linked, for the holder to know which account it is.
    email text,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id, created_at, id);

-- States of sign-ins that came back: each is good once. SHA-256; the row that is there first decides.
CREATE TABLE spent_states (
    state_hash bytea PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX spent_states_expiry ON spent_states (expires_at);
