-- With REGISTRATION=verified: who wants an account and has not confirmed the address. No account exists before.
CREATE TABLE pending_registrations (
    id uuid PRIMARY KEY,
    -- Where the link goes; NULL once nothing can be confirmed any more.
    email text,
    -- Keyed hash of the address: what is mailed to it is counted by this, whether it has an account or not.
    address_hash bytea NOT NULL,
    -- The account that the address turned out to have: its holder is told, and nothing can be confirmed.
    holder_id uuid REFERENCES users (id),
    username text NOT NULL,
    username_key text NOT NULL,
    -- Whether the name is kept from others: until this is confirmed, runs out, or the same person asks again.
    reserves boolean NOT NULL DEFAULT true,
    token_hash bytea UNIQUE,
    -- By whom the person was brought, for the referral that is made with the account.
    evidence jsonb NOT NULL,
    -- Keyed hash of the network that it came from.
    ip_hash bytea,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    mailed_at timestamptz,
    closed_at timestamptz
);
CREATE UNIQUE INDEX pending_registrations_username ON pending_registrations (username_key) WHERE reserves;
CREATE INDEX pending_registrations_address ON pending_registrations (address_hash, mailed_at);
CREATE INDEX pending_registrations_holder ON pending_registrations (holder_id) WHERE holder_id IS NOT NULL;
CREATE INDEX pending_registrations_expiry ON pending_registrations (expires_at);
