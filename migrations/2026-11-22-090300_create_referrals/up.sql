CREATE TABLE referrals (
    id uuid PRIMARY KEY,
    referrer_id uuid NOT NULL REFERENCES users (id),
    -- One referrer for good.
    referred_user_id uuid NOT NULL UNIQUE REFERENCES users (id),
    date_referred timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'review', 'successful', 'rejected', 'expired', 'reversed')),
    -- Why it is where it is; the referrer may read it.
    reason text NOT NULL,
    -- It is not decided before.
    qualifies_at timestamptz NOT NULL,
    settled_at timestamptz,
    CHECK (referrer_id <> referred_user_id),
    CHECK ((status IN ('pending', 'review')) = (settled_at IS NULL))
);
CREATE INDEX referrals_referrer ON referrals (referrer_id, date_referred DESC, id DESC);
CREATE INDEX referrals_referrer_status ON referrals (referrer_id, status, date_referred DESC, id DESC);
CREATE INDEX referrals_pending ON referrals (date_referred) WHERE status = 'pending';

-- What statistics read, whatever the number of referrals: written by the transaction that moves a referral.
CREATE TABLE referral_counters (
    user_id uuid PRIMARY KEY REFERENCES users (id),
    pending bigint NOT NULL DEFAULT 0 CHECK (pending >= 0),
    review bigint NOT NULL DEFAULT 0 CHECK (review >= 0),
    successful bigint NOT NULL DEFAULT 0 CHECK (successful >= 0),
    rejected bigint NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    expired bigint NOT NULL DEFAULT 0 CHECK (expired >= 0),
    reversed bigint NOT NULL DEFAULT 0 CHECK (reversed >= 0),
    -- Rises with every change of what the statistics show, balances included: the order of cached copies.
    version bigint NOT NULL DEFAULT 0
);

-- Visits of the referral link /r/{code}.
CREATE TABLE referral_visits (
    user_id uuid NOT NULL REFERENCES users (id),
    day date NOT NULL,
    visits bigint NOT NULL,
    PRIMARY KEY (user_id, day)
);
