-- What strangers say of a page. One open report a page and network, so that one person is not a crowd.
CREATE TABLE page_reports (
    id uuid PRIMARY KEY,
    -- Whose page.
    user_id uuid NOT NULL REFERENCES users (id),
    reason text NOT NULL CHECK (reason IN ('spam', 'scam', 'malware', 'impersonation', 'hate', 'violence', 'sexual', 'illegal', 'other')),
    detail text,
    -- Keyed hash of the prefix of the reporter's address. Forgotten after 90 days.
    network bytea,
    created_at timestamptz NOT NULL,
    -- When a manager decided, and how.
    settled_at timestamptz,
    outcome text CHECK (outcome IN ('disabled', 'dismissed')),
    CHECK ((settled_at IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX page_reports_open ON page_reports (user_id, network) WHERE settled_at IS NULL;
CREATE INDEX page_reports_listed ON page_reports (created_at, id);

-- Hosts that no link leads to, and all below them. As DNS has them: lower case, IDNA folded, no dot at the end.
CREATE TABLE blocked_domains (
    domain text PRIMARY KEY CHECK (domain = lower(domain) AND domain <> '' AND domain NOT LIKE '%.'),
    id uuid NOT NULL UNIQUE,
    reason text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX blocked_domains_listed ON blocked_domains (created_at, id);

-- The host of a web address as links keep it, NULL of others. A dot at the end names the same host.
CREATE FUNCTION link_host(url text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT rtrim(lower(substring(url FROM '^https?://(\[[^\]]*\]|[^/?#:]+)')), '.') $$;

-- Whether an address leads to a blocked host, or to one below it.
CREATE FUNCTION is_blocked_url(url text) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
DECLARE
    name text := link_host(url);
BEGIN
    WHILE name <> '' LOOP
        IF EXISTS (SELECT 1 FROM blocked_domains WHERE domain = name) THEN
            RETURN true;
        END IF;
        EXIT WHEN strpos(name, '.') = 0;
        name := substr(name, strpos(name, '.') + 1);
    END LOOP;
    RETURN false;
END
$$;

-- A domain and all below it begin alike when they are read backwards.
CREATE INDEX links_host ON links (reverse(link_host(url)) text_pattern_ops);
