//! The books and the model, line by line.

use std::collections::BTreeMap;

use chrono::Datelike as _;
use domain::referrals;
use domain::rewards::RuleSpec;
use proptest::prelude::*;

use super::model::{Model, Referral};
use super::person::Period;
use super::play::Play;

/// Everything that the books say, a line each.
const BOOKS: &str = "
    SELECT format('rule %s: %s', key, amount) FROM reward_rules WHERE retired_at IS NULL
    UNION ALL
    SELECT format('referral of %s: %s, %s', u.username, f.status, f.reason)
    FROM referrals f JOIN users u ON u.id = f.referred_user_id
    UNION ALL
    SELECT format('told of the referral of %s: %s', u.username,
                  string_agg(format('%s, %s', o.payload ->> 'event', o.payload ->> 'reason'), '; ' ORDER BY o.id))
    FROM outbox o JOIN referrals f ON f.id = (o.payload ->> 'subject_id')::uuid JOIN users u ON u.id = f.referred_user_id
    WHERE o.kind = 'event.announce' GROUP BY u.username
    UNION ALL
    SELECT format('on record of the referral of %s: %s', u.username, string_agg(e.event, '; ' ORDER BY e.id))
    FROM security_events e JOIN referrals f ON f.id = e.subject_id JOIN users u ON u.id = f.referred_user_id
    GROUP BY u.username
    UNION ALL
    SELECT format('%s of the referral of %s by %s: %s, %s; %s %s, short of %s', d.beneficiary, u.username, coalesce(k.key, 'no rule'),
                  d.decision, d.reason, coalesce(r.reward_type, '-'), coalesce(r.amount, 0), coalesce(r.shortfall::text, '-'))
    FROM reward_decisions d JOIN referrals f ON f.id = d.referral_id JOIN users u ON u.id = f.referred_user_id
    LEFT JOIN reward_rules k ON k.id = d.rule_id LEFT JOIN rewards r ON r.id = d.reward_id
    UNION ALL
    SELECT format('grants for %s by %s in %s: %s', u.username, t.rule_key, t.month, t.granted)
    FROM reward_tallies t JOIN users u ON u.id = t.referrer_id
    UNION ALL
    SELECT format('counts of %s: %s %s %s %s %s %s, visits %s', u.username, c.pending, c.review, c.successful, c.rejected, c.expired,
                  c.reversed, (SELECT coalesce(sum(visits), 0) FROM referral_days d WHERE d.user_id = u.id))
    FROM referral_counters c JOIN users u ON u.id = c.user_id
    UNION ALL
    SELECT format('%s of %s: %s', b.kind, u.username, b.amount)
    FROM balances b JOIN users u ON u.id = b.user_id WHERE b.amount <> 0
    UNION ALL
    SELECT format('premium of %s: %s to %s', u.username, (p.starts_at AT TIME ZONE 'UTC')::date, (p.ends_at AT TIME ZONE 'UTC')::date)
    FROM premium_periods p JOIN users u ON u.id = p.user_id WHERE p.reversed_at IS NULL
    UNION ALL
    SELECT format('coupon of %s: %s percent, %s', u.username, c.percent,
                  CASE WHEN c.redeemed_at IS NOT NULL THEN 'used' WHEN c.voided_at IS NOT NULL THEN 'void' ELSE 'good' END)
    FROM discounts c JOIN users u ON u.id = c.user_id
    UNION ALL
    SELECT DISTINCT format('settlement of the referral of %s is promised', u.username)
    FROM outbox o JOIN referrals f ON f.id = (o.payload ->> 'referral_id')::uuid JOIN users u ON u.id = f.referred_user_id
    WHERE o.kind = 'referral.settle' AND o.done_at IS NULL
    UNION ALL
    SELECT format('failed: %s', last_error) FROM outbox WHERE last_error IS NOT NULL";

impl Play {
    /// Holds the books against the model.
    pub(super) async fn compare_books(&self) -> Result<(), TestCaseError> {
        let rows = self.desk.database.query(BOOKS, &[]).await.unwrap();
        let mut books: Vec<String> = rows.into_iter().map(|row| row.get(0)).collect();
        let mut model = self.model.lines();
        books.sort();
        model.sort();
        prop_assert!(
            books == model,
            "only in the books: {:#?}\nonly in the model: {:#?}",
            only(&books, &model),
            only(&model, &books)
        );
        prop_assert_eq!(self.desk.broken_invariants().await, [""; 0]);
        Ok(())
    }

    /// Holds what people are shown of them against the model.
    pub(super) async fn compare_figures(&self) -> Result<(), TestCaseError> {
        let now = self.desk.clock.now();
        for (index, person) in self.model.people.iter().enumerate() {
            let stats = referrals::stats(&self.desk.pool, now, person.id).await.unwrap();
            prop_assert_eq!(stats.is_none(), person.deleted, "figures of {}", person.name);
            let Some(stats) = stats else { continue };
            let next = stats.next_milestone.map(|next| (next.at, next.remaining, next.kind, next.amount));
            prop_assert_eq!(next, self.model.next_milestone(index), "next milestone of {}", person.name);
            let last = person.periods.iter().map(|period| period.ends_on).max();
            let until = last.filter(|end| *end > self.model.today);
            let shown = stats.premium_until.map(|end| end.date_naive());
            prop_assert_eq!(shown, until, "premium of {}", person.name);
            let mut shown: Vec<_> = stats.discounts.iter().map(|coupon| coupon.percent).collect();
            let mut good: Vec<_> = person.coupons.iter().filter(|c| c.is_good()).map(|c| c.percent).collect();
            shown.sort();
            good.sort();
            prop_assert_eq!(shown, good, "coupons of {}", person.name);
        }
        Ok(())
    }
}

/// What the record calls a move.
fn on_record(status: &str) -> String {
    let word = match status {
        "pending" => "released",
        "review" => "held",
        other => other,
    };
    format!("referral_{word}")
}

/// What is in one list and not in another.
fn only<'a>(these: &'a [String], those: &[String]) -> Vec<&'a String> {
    these.iter().filter(|line| !those.contains(line)).collect()
}

impl Model {
    /// What the books should say.
    fn lines(&self) -> Vec<String> {
        let rules = self.rules.iter().map(|rule| format!("rule {}: {}", rule.key(), rule.amount));
        let referrals = self.referrals.iter().flat_map(|referral| self.lines_of_referral(referral));
        let people = (0..self.people.len()).flat_map(|whom| self.lines_of_person(whom));
        rules.chain(referrals).chain(people).collect()
    }

    fn lines_of_referral(&self, referral: &Referral) -> Vec<String> {
        let name = &self.people[referral.referred].name;
        let mut lines = vec![format!("referral of {name}: {}, {}", referral.status, referral.reason)];
        let told = referral.told.iter().map(|(status, reason)| format!("referral.{status}, {reason}"));
        lines.push(format!("told of the referral of {name}: {}", told.collect::<Vec<_>>().join("; ")));
        if referral.promised {
            lines.push(format!("settlement of the referral of {name} is promised"));
        }
        // That somebody who registered waits is told by the record of the account.
        let moves =
            referral.told.iter().enumerate().filter(|(step, (status, _))| (*step, *status) != (0, "pending"));
        let on_record: Vec<_> = moves.map(|(_, (status, _))| on_record(status)).collect();
        if !on_record.is_empty() {
            lines.push(format!("on record of the referral of {name}: {}", on_record.join("; ")));
        }
        lines.extend(referral.decisions.iter().map(|decision| {
            let rule = decision.rule.as_ref().map_or("no rule".to_owned(), RuleSpec::key);
            let (decided, reason) = decision.outcome;
            let grant = decision.granted();
            let grant = grant.map_or("- 0".to_owned(), |rule| format!("{} {}", rule.kind, rule.amount));
            let shortfall = decision.shortfall.map_or("-".to_owned(), |amount| amount.to_string());
            format!(
                "{} of the referral of {name} by {rule}: {decided}, {reason}; {grant}, short of {shortfall}",
                decision.side.as_str()
            )
        }));
        lines
    }

    fn lines_of_person(&self, whom: usize) -> Vec<String> {
        let person = &self.people[whom];
        let name = &person.name;
        let [pending, review, successful, rejected, expired, reversed] = self.counts(whom);
        let mut lines = vec![format!(
            "counts of {name}: {pending} {review} {successful} {rejected} {expired} {reversed}, visits {}",
            person.visits
        )];
        let mut tallies = BTreeMap::new();
        for grant in self.grants(whom) {
            let key = grant.granted().map(RuleSpec::key).unwrap_or_default();
            *tallies.entry((key, grant.on.with_day(1).unwrap())).or_insert(0) += 1;
        }
        let tally = |((key, month), granted)| format!("grants for {name} by {key} in {month}: {granted}");
        lines.extend(tallies.into_iter().map(tally));
        let coupons = person.coupons.iter().filter(|coupon| !coupon.void).count();
        let held = [
            ("credits", person.credits.to_string()),
            ("premium", format!("{}.00", person.premium)),
            ("discount", format!("{coupons}.00")),
        ];
        let held = held.into_iter().filter(|(_, amount)| amount != "0.00");
        lines.extend(held.map(|(kind, amount)| format!("{kind} of {name}: {amount}")));
        let period = |p: &Period| format!("premium of {name}: {} to {}", p.starts_on, p.ends_on);
        lines.extend(person.periods.iter().map(period));
        lines.extend(person.coupons.iter().map(|coupon| {
            let state = match (coupon.used, coupon.void) {
                (true, _) => "used",
                (_, true) => "void",
                _ => "good",
            };
            format!("coupon of {name}: {} percent, {state}", coupon.percent)
        }));
        lines
    }
}
