-- Where the notice of a deletion goes: the address that the account had, encrypted, until the mail is sent or a day has
-- passed. Nothing here refers to the account.
CREATE TABLE deletion_notices (
    id uuid PRIMARY KEY,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX deletion_notices_time ON deletion_notices (created_at);
