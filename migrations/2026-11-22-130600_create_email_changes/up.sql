-- A new address that an account asked for, until it is confirmed. The old one works meanwhile.
CREATE TABLE email_changes (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    -- The session that asked: it goes on when the change takes effect, the others end.
    session_id uuid NOT NULL,
    -- NULL once nothing can be confirmed any more.
    new_email text,
    -- Who is told.
    old_email text NOT NULL,
    -- Keyed hash of the new address: what is mailed to it is counted by this, whether it has an account or not.
    address_hash bytea NOT NULL,
    -- The account that the new address turned out to have: its holder is told, and nothing can be confirmed.
    holder_id uuid REFERENCES users (id),
    token_hash bytea UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    mailed_at timestamptz,
    -- It took effect.
    applied_at timestamptz,
    -- It took effect, was overtaken by a newer one, or is void because the password changed.
    closed_at timestamptz,
    CHECK (applied_at IS NULL OR closed_at IS NOT NULL)
);
CREATE INDEX email_changes_user ON email_changes (user_id);
CREATE INDEX email_changes_address ON email_changes (address_hash, mailed_at);
CREATE INDEX email_changes_holder ON email_changes (holder_id) WHERE holder_id IS NOT NULL;
CREATE INDEX email_changes_expiry ON email_changes (expires_at);

-- Keyed hashes of the canonical confirmed addresses that an account had before: whoever changes the address is still
-- known by the old one where referrals are judged.
CREATE TABLE former_identities (
    user_id uuid NOT NULL REFERENCES users (id),
    email_hash bytea NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (user_id, email_hash)
);
CREATE INDEX former_identities_hash ON former_identities (email_hash);
