//! Who brought whom, what became of it and what they have of it, as it must be; and whether the system says the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use testkit::stack::Stack;

/// Where a referral may stand here.
pub(crate) const STATES: [&str; 5] = ["pending", "review", "successful", "rejected", "reversed"];

/// What must have come of it all, by what was answered.
#[derive(Default)]
pub(crate) struct Model {
    /// Who brought each friend, and where that referral stands.
    pub(crate) referrals: BTreeMap<String, (String, &'static str)>,
    /// Referrals that a manager let pass.
    pub(crate) released: usize,
    /// The credits that somebody spent.
    pub(crate) spent: BTreeMap<String, usize>,
    /// Accounts that were deleted.
    pub(crate) gone: BTreeSet<String>,
}

impl Model {
    pub(crate) fn brought(&mut self, friend: String, referrer: &str, status: &'static str) {
        self.referrals.insert(friend, (referrer.to_owned(), status));
    }

    pub(crate) fn becomes(&mut self, friend: &str, status: &'static str) {
        self.referrals.get_mut(friend).unwrap().1 = status;
    }

    pub(crate) fn stands(&self, friend: &str) -> &'static str {
        self.referrals[friend].1
    }

    fn referrers(&self) -> BTreeSet<&String> {
        self.referrals.values().map(|(referrer, _)| referrer).collect()
    }

    /// How many of somebody's referrals stand there.
    fn of(&self, referrer: &str, status: &str) -> usize {
        self.referrals.values().filter(|(by, stands)| by == referrer && *stands == status).count()
    }

    /// How many of all referrals stand there.
    pub(crate) fn all(&self, status: &str) -> usize {
        self.referrals.values().filter(|(_, stands)| *stands == status).count()
    }

    fn credits(&self, name: &str) -> String {
        let own = self.referrals.get(name).is_some_and(|(_, stands)| *stands == "successful");
        let earned = 10 * self.of(name, "successful") + if own { 5 } else { 0 };
        let left = if self.gone.contains(name) { 0 } else { earned - self.spent.get(name).unwrap_or(&0) };
        format!("{left}.00")
    }

    /// Referrals, grants, balances, counters, the record and the statistics of every api are those of the model, and the books
    /// balance.
    pub(crate) async fn assert_holds(&self, stack: &Stack) {
        self.assert_books(stack).await;
        self.assert_record(stack).await;
        self.assert_statistics(stack).await;
        stack.check_ledger().await;
    }

    async fn assert_books(&self, stack: &Stack) {
        let sql = "SELECT friend.username, referrer.username || ' ' || status FROM referrals \
                   JOIN users friend ON friend.id = referred_user_id JOIN users referrer ON referrer.id = referrer_id";
        let wanted =
            self.referrals.iter().map(|(friend, (by, stands))| (friend.clone(), format!("{by} {stands}")));
        assert_eq!(pairs(stack, sql).await, wanted.collect());

        // Whatever was taken back had been granted.
        let granted =
            self.referrals.iter().filter(|(_, (_, stands))| ["successful", "reversed"].contains(stands));
        let wanted = granted.map(|(friend, _)| (friend.clone(), "5.00 referred, 10.00 referrer".to_owned()));
        let sql = "SELECT username, string_agg(amount || ' ' || beneficiary, ', ' ORDER BY beneficiary) \
                   FROM rewards r JOIN referrals ON referrals.id = r.referral_id JOIN users ON users.id = referred_user_id \
                   WHERE reward_type = 'credits' GROUP BY 1";
        assert_eq!(pairs(stack, sql).await, wanted.collect());

        let people: BTreeSet<&String> = self.referrers().into_iter().chain(self.referrals.keys()).collect();
        let wanted = people.iter().map(|name| ((*name).clone(), self.credits(name)));
        let sql = format!(
            "SELECT username, coalesce((SELECT amount::text FROM balances WHERE user_id = users.id AND kind = 'credits'), \
             '0.00') FROM users WHERE username = ANY('{{{}}}')",
            people.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",")
        );
        assert_eq!(pairs(stack, &sql).await, wanted.collect());

        let figures = |name: &str| STATES.map(|status| self.of(name, status).to_string()).join(" ");
        let wanted = self.referrers().into_iter().map(|name| (name.clone(), figures(name)));
        let sql = "SELECT username, concat_ws(' ', pending, review, successful, rejected, reversed) \
                   FROM referral_counters JOIN users ON users.id = user_id \
                   WHERE pending + review + successful + rejected + expired + reversed > 0";
        assert_eq!(pairs(stack, sql).await, wanted.collect());
    }

    /// Each move is on record once, and what was taken back was taken back once from either side.
    async fn assert_record(&self, stack: &Stack) {
        let moves = [
            ("referral_released", self.released),
            ("referral_successful", self.all("successful") + self.all("reversed")),
            ("referral_rejected", self.all("rejected")),
            ("referral_reversed", self.all("reversed")),
        ];
        for (event, times) in moves {
            let sql = format!(
                "SELECT format('%s of %s', count(*), count(DISTINCT subject_id)) FROM security_events \
                 WHERE event = '{event}'"
            );
            assert_eq!(stack.database.value::<String>(&sql).await, format!("{times} of {times}"), "{event}");
        }
        let taken = count(stack, "ledger_entries WHERE cause = 'reversal' AND kind = 'credits'").await;
        assert_eq!(taken, 2 * self.all("reversed"));
    }

    /// Those who brought somebody are shown the same at every api.
    async fn assert_statistics(&self, stack: &Stack) {
        for name in self.referrers().into_iter().filter(|name| !self.gone.contains(*name)) {
            let figures = STATES.map(|status| self.of(name, status));
            let [pending, review, successful, rejected, _] = figures;
            let wanted = [
                ("total", figures.iter().sum()),
                ("pending", pending),
                ("in_review", review),
                ("successful", successful),
                ("rejected", rejected),
            ];
            for api in 0..stack.apis.len() {
                let client = stack.login(api, name).await;
                stack
                    .stats_when(&client, |stats| {
                        stats["rewards"]["credits"] == self.credits(name)
                            && wanted.iter().all(|(figure, wanted)| stats[figure] == json!(wanted))
                    })
                    .await;
            }
        }
    }
}

/// What a query of two columns gives, of which the first is no value twice.
pub(crate) async fn pairs(stack: &Stack, sql: &str) -> BTreeMap<String, String> {
    let rows = stack.database.query(sql, &[]).await.unwrap();
    let pairs: BTreeMap<_, _> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(pairs.len(), rows.len(), "{sql}");
    pairs
}

pub(crate) async fn count(stack: &Stack, rows: &str) -> usize {
    usize::try_from(stack.database.value::<i64>(&format!("SELECT count(*) FROM {rows}")).await).unwrap()
}
