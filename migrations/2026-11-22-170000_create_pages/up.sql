-- A page of links per account. Who never edited has no row here and shows the defaults.
CREATE TABLE profiles (
    user_id uuid PRIMARY KEY REFERENCES users (id),
    display_name text NOT NULL DEFAULT '',
    bio text NOT NULL DEFAULT '',
    theme text NOT NULL DEFAULT 'paper',
    -- Whether search engines may list the page.
    listed boolean NOT NULL DEFAULT true,
    -- [{"network": .., "url": ..}], in the order shown.
    social jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(social) = 'array'),
    -- SHA-256 of the picture in `avatars`, and part of its address.
    avatar bytea CHECK (octet_length(avatar) = 32),
    -- Raised by every change of the profile, its links or its state: the order of copies, and the ETag.
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL,
    -- Taken down by a manager; the reason is shown to the owner.
    disabled_at timestamptz,
    disabled_reason text,
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
);

-- The picture of an account, re-encoded by us. Apart from `profiles`, so that reading a page never reads it.
CREATE TABLE avatars (
    user_id uuid PRIMARY KEY REFERENCES users (id),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    content_type text NOT NULL,
    body bytea NOT NULL CHECK (octet_length(body) <= 524288)
);
-- Pictures are asked for by what they are.
CREATE INDEX avatars_digest ON avatars (digest);

CREATE TABLE links (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES profiles (user_id),
    -- A header is a title between links and leads nowhere.
    kind text NOT NULL CHECK (kind IN ('link', 'header')),
    title text NOT NULL,
    url text,
    -- SHA-256 of the picture in `thumbnails`, as with avatars.
    thumbnail bytea CHECK (octet_length(thumbnail) = 32),
    enabled boolean NOT NULL DEFAULT true,
    -- Shown from (inclusive) until (exclusive); NULL is no bound.
    visible_from timestamptz,
    visible_until timestamptz,
    -- Above the others.
    pinned boolean NOT NULL DEFAULT false,
    -- Set off from the others.
    highlighted boolean NOT NULL DEFAULT false,
    position integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Taken down by a manager; the reason is shown to the owner.
    disabled_at timestamptz,
    disabled_reason text,
    -- The client's Idempotency-Key, and SHA-256 of what it was sent with: the same request twice makes one link.
    request_key text,
    request_hash bytea CHECK (octet_length(request_hash) = 32),
    CHECK ((request_key IS NULL) = (request_hash IS NULL)),
    CONSTRAINT links_request_key UNIQUE (user_id, request_key),
    CHECK ((kind = 'link') = (url IS NOT NULL)),
    CHECK (visible_from < visible_until),
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    -- Checked at the end of the statement or transaction, so that a whole order is written at once.
    CONSTRAINT links_position UNIQUE (user_id, position) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE thumbnails (
    link_id uuid PRIMARY KEY REFERENCES links (id) ON DELETE CASCADE,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    content_type text NOT NULL,
    body bytea NOT NULL CHECK (octet_length(body) <= 131072)
);
CREATE INDEX thumbnails_digest ON thumbnails (digest);
