-- Accounts. A deleted account keeps its row: the books refer to it and its names stay reserved.
CREATE TABLE users (
    id uuid PRIMARY KEY,
    -- As shown: lower case.
    username text NOT NULL UNIQUE,
    -- The username with look-alikes folded (0 and o, 1 and l and i, rn and m), so that two names that read alike cannot both exist.
    username_key text NOT NULL UNIQUE,
    -- Normalised (trimmed, IDNA, lower case); `deleted:<keyed hash>` once the account is deleted.
    email text NOT NULL UNIQUE,
    email_verified_at timestamptz,
    -- PHC string; NULL when the account has no password.
    password_hash text,
    password_changed_at timestamptz,
    role text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
    -- Sessions of an earlier epoch have ended.
    session_epoch integer NOT NULL DEFAULT 0,
    -- Made once, never changed, never issued again.
    referral_code text NOT NULL UNIQUE CHECK (referral_code ~ '^[0-9a-hjkmnp-tv-z]{10}$'),
    referred_by uuid REFERENCES users (id),
    created_at timestamptz NOT NULL,
    blocked_at timestamptz,
    deleted_at timestamptz,
    CHECK (referred_by <> id)
);
CREATE INDEX users_referred_by ON users (referred_by) WHERE referred_by IS NOT NULL;

-- Keyed hashes of the canonical e-mail addresses of deleted accounts: none of them qualifies again as a referred user.
CREATE TABLE deleted_identities (
    email_hash bytea PRIMARY KEY,
    deleted_at timestamptz NOT NULL
);
