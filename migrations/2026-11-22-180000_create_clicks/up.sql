-- The figures of links and pages, by the hour.
--
-- One shape for all of them: what is counted (`subject_id`: a link, or a page by its owner), by what (`dimension`), when and
-- for which value. In this order they are the primary key, so each figure is one range of one index, however many others
-- there are: the totals and the series of a link are `subject, 0, from..to`, its browsers `subject, 4, from..to`, the links
-- of a page `owner, 1, from..to`. What is not about people (robots, the owner) stands beside it in the same row: showing it
-- or not reads the same range. The price is that a click raises some ten rows; the worker adds up thousands of clicks before
-- it writes any.
--
-- Hours are those of UTC: whole hours of nearly every time zone. A zone that is off by half an hour has its days begin at the
-- first full hour of UTC after midnight.
--
-- No foreign key: checking one would make the roll-up wait for whoever holds a user's row, and the users for it. Whoever
-- deletes a link or an account takes the lock of `click_rollup` and deletes these rows; the roll-up, under the same lock,
-- counts for links and pages that are there.
CREATE TABLE click_hours (
    subject_id uuid NOT NULL,
    -- 0 all, 1 link (its id), 2 referrer (its host), 3 device, 4 browser, 5 operating system, 6 country (ISO 3166).
    dimension smallint NOT NULL CHECK (dimension BETWEEN 0 AND 6),
    hour timestamptz NOT NULL CHECK (extract(epoch FROM hour)::bigint % 3600 = 0),
    -- Empty where there is but one, or where it is not known.
    value text NOT NULL CHECK (length(value) <= 255),
    clicks integer NOT NULL DEFAULT 0,
    -- Clicks that were the first of a visitor on a day.
    unique_clicks integer NOT NULL DEFAULT 0,
    robot_clicks integer NOT NULL DEFAULT 0,
    own_clicks integer NOT NULL DEFAULT 0,
    -- Of pages only.
    views integer NOT NULL DEFAULT 0,
    unique_views integer NOT NULL DEFAULT 0,
    robot_views integer NOT NULL DEFAULT 0,
    own_views integer NOT NULL DEFAULT 0,
    PRIMARY KEY (subject_id, dimension, hour, value)
);

-- What runs out is found by its hour; hours come in order, so a few pages of this tell.
CREATE INDEX click_hours_hour ON click_hours USING brin (hour);

-- Who was there on a day, as hashes of a salt that is thrown away: after that nobody can tell who they were.
CREATE TABLE click_visitors (
    day date NOT NULL,
    visitor bytea NOT NULL CHECK (octet_length(visitor) = 16),
    PRIMARY KEY (day, visitor)
);

-- The salts. One a day, whoever is the first to need it.
CREATE TABLE click_salts (
    day date PRIMARY KEY,
    salt bytea NOT NULL CHECK (octet_length(salt) = 32)
);

-- The batches of the stream in Redis that are in the figures: each is counted in the transaction that puts it here, so it
-- may be delivered as often as it likes, from whatever Redis, under whatever number.
CREATE TABLE click_batches (
    id uuid PRIMARY KEY,
    counted_at timestamptz NOT NULL
);

CREATE INDEX click_batches_counted_at ON click_batches USING brin (counted_at);

-- One row: the lock of whoever counts, and of whoever deletes what is counted.
CREATE TABLE click_rollup (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    batches bigint NOT NULL DEFAULT 0,
    counted_at timestamptz
);

INSERT INTO click_rollup DEFAULT VALUES;
