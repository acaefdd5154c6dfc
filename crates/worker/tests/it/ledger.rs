//! The audit of the books: it finds each kind of damage, names it, and finds nothing where there is none.

use domain::rewards::{Amount, INVARIANTS};
use serde_json::Value;
use testkit::config::TestSettings;
use testkit::process::Program;

use super::desk::{Desk, rule};

/// Six successful referrals (a milestone among them), one that waits, one refused, and an account that was deleted.
async fn books() -> Desk {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 8, &ada).await;
    for friend in &friends[..6] {
        desk.confirm(friend.id).await;
    }
    desk.run_queue("rewards").await;
    desk.delete(friends[0].id).await;
    desk.delete(friends[7].id).await;
    desk.check_ledger().await;
    desk
}

/// Damage and how it is mended, by the invariants it breaks. Made past triggers and foreign keys, as by somebody who
/// holds the database.
const DAMAGE: [(&[&str], &str, &str); 18] = [
    (
        &["L1"],
        "UPDATE balances SET amount = amount + 1 WHERE kind = 'premium'",
        "UPDATE balances SET amount = amount - 1 WHERE kind = 'premium'",
    ),
    (
        &["L1", "L5"],
        "UPDATE ledger_entries SET amount = amount + 0.01 WHERE kind = 'premium'",
        "UPDATE ledger_entries SET amount = amount - 0.01 WHERE kind = 'premium'",
    ),
    (
        &["L1"],
        "CREATE TABLE kept AS TABLE balances; DELETE FROM balances WHERE kind = 'premium'",
        "INSERT INTO balances SELECT * FROM kept WHERE kind = 'premium'; DROP TABLE kept",
    ),
    (
        &["L1"],
        "INSERT INTO balances SELECT id, 'credits', 3 FROM users WHERE username = 'friend6'",
        "DELETE FROM balances WHERE amount = 3",
    ),
    (
        &["L2"],
        "ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_append_only",
        "ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_append_only",
    ),
    (
        &["L2"],
        "ALTER TABLE ledger_entries ENABLE REPLICA TRIGGER ledger_entries_no_truncate",
        "ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_no_truncate",
    ),
    (
        &["L2"],
        "DROP TRIGGER ledger_entries_append_only ON ledger_entries",
        "CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
         FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    ),
    (
        &["L3", "L7", "L9"],
        "ALTER TABLE rewards DROP CONSTRAINT rewards_referral_id_beneficiary_rule_id_reward_type_key;
         INSERT INTO rewards SELECT '00000000-0000-7000-8000-000000000000', user_id, reward_type, amount, date_earned,
            referral_id, beneficiary, rule_id, milestone FROM rewards WHERE beneficiary = 'referred' LIMIT 1",
        "DELETE FROM rewards WHERE id = '00000000-0000-7000-8000-000000000000'",
    ),
    (
        &["L3"],
        "CREATE TABLE kept AS TABLE rewards;
         UPDATE rewards SET milestone = 7 WHERE id IN (SELECT id FROM rewards WHERE milestone IS NULL AND
            beneficiary = 'referrer' LIMIT 1);
         DROP INDEX rewards_milestone;
         UPDATE rewards SET milestone = 7 WHERE id IN (SELECT id FROM rewards WHERE milestone IS NULL AND
            beneficiary = 'referrer' LIMIT 1)",
        "UPDATE rewards SET milestone = NULL WHERE milestone = 7; DROP TABLE kept",
    ),
    (
        &["L1", "L4"],
        "ALTER TABLE balances DROP CONSTRAINT balances_amount_check;
         UPDATE balances SET amount = -amount WHERE kind = 'premium'",
        "UPDATE balances SET amount = -amount WHERE kind = 'premium'",
    ),
    (
        &["L4"],
        "ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_balance_after_check;
         UPDATE ledger_entries SET balance_after = -balance_after WHERE kind = 'premium'",
        "UPDATE ledger_entries SET balance_after = -balance_after WHERE kind = 'premium'",
    ),
    (
        &["L5"],
        "CREATE TABLE kept AS TABLE rewards;
         UPDATE rewards SET user_id = (SELECT id FROM users WHERE username = 'friend6') WHERE reward_type = 'premium'",
        "UPDATE rewards SET user_id = kept.user_id FROM kept WHERE kept.id = rewards.id; DROP TABLE kept",
    ),
    (
        &["L5"],
        "UPDATE users SET deleted_at = NULL WHERE email LIKE 'deleted:%'",
        "UPDATE users SET deleted_at = now() WHERE email LIKE 'deleted:%'",
    ),
    (
        &["L8"],
        "UPDATE referral_counters SET successful = successful + 1 WHERE successful = 6",
        "UPDATE referral_counters SET successful = successful - 1 WHERE successful = 7",
    ),
    (
        &["L8"],
        "UPDATE referrals SET status = 'expired', settled_at = now() WHERE status = 'pending'",
        "UPDATE referrals SET status = 'pending', settled_at = NULL WHERE status = 'expired'",
    ),
    (
        &["L9"],
        "CREATE TABLE kept AS SELECT * FROM reward_decisions WHERE beneficiary = 'referred';
         UPDATE reward_decisions SET decision = 'capped', reward_id = NULL WHERE beneficiary = 'referred'",
        "UPDATE reward_decisions d SET decision = kept.decision, reward_id = kept.reward_id FROM kept WHERE kept.id = d.id;
         DROP TABLE kept",
    ),
    (
        &["L1", "L9"],
        "CREATE TABLE kept AS SELECT * FROM ledger_entries WHERE kind = 'premium';
         DELETE FROM ledger_entries WHERE kind = 'premium'",
        "INSERT INTO ledger_entries SELECT * FROM kept; DROP TABLE kept",
    ),
    (
        &["L8", "L9"],
        "INSERT INTO referrals SELECT '00000000-0000-7000-8000-000000000000', referrer.id, referred.id, now(),
            'successful', 'forged', now(), now()
         FROM users referrer, users referred WHERE referrer.username = 'friend6' AND referred.username = 'ada'",
        "DELETE FROM referrals WHERE reason = 'forged'",
    ),
];

/// The books, and in them a redemption, an adjustment, a referral that was reversed, and rules with caps.
async fn used_books() -> Desk {
    let desk = books().await;
    let ada = desk.id("SELECT id FROM users WHERE username = 'ada'").await;
    desk.redeem(ada, "premium_7_days", "a week").await.unwrap();
    desk.adjust(ada, 500, "a gift").await.unwrap();
    let friend1 =
        "SELECT f.id FROM referrals f JOIN users u ON u.id = f.referred_user_id WHERE u.username = 'friend1'";
    desk.reverse(desk.id(friend1).await).await;
    desk.change_rules(|rules| {
        let per_referral = rule(rules, "per_referral.referrer.credits");
        (per_referral.max_total, per_referral.max_per_month) = (Some(100), Some(50));
        per_referral.amount = Amount::from_whole(12);
    })
    .await;
    let dora = desk.person("dora").await;
    for friend in desk.friends("late", 2, &dora).await {
        desk.confirm(friend.id).await;
    }
    desk.run_queue("rewards").await;
    desk.check_ledger().await;
    desk
}

/// As above, of what is in used books.
const DAMAGE_OF_USED: [(&[&str], &str, &str); 14] = [
    (
        &["L3", "L9"],
        "ALTER TABLE redemptions DROP CONSTRAINT redemptions_user_id_idempotency_key_key;
         INSERT INTO redemptions SELECT '00000000-0000-7000-8000-000000000000', user_id, idempotency_key, option, cost,
            reward_type, amount, credits_left, premium_until, code, created_at FROM redemptions",
        "DELETE FROM redemptions WHERE id = '00000000-0000-7000-8000-000000000000'",
    ),
    (
        &["L5"],
        "UPDATE redemptions SET cost = cost + 1",
        "UPDATE redemptions SET cost = cost - 1",
    ),
    (
        &["L5"],
        "UPDATE ledger_entries SET reason = '' WHERE cause = 'admin'",
        "UPDATE ledger_entries SET reason = 'a gift' WHERE cause = 'admin'",
    ),
    (
        &["L5", "L6"],
        "CREATE TABLE kept AS TABLE ledger_entries;
         UPDATE ledger_entries SET reverses_id = (SELECT id FROM ledger_entries WHERE cause = 'admin')
         WHERE cause = 'reversal' AND amount = -10",
        "UPDATE ledger_entries e SET reverses_id = kept.reverses_id FROM kept WHERE kept.id = e.id; DROP TABLE kept",
    ),
    (
        &["L6"],
        "UPDATE ledger_entries SET shortfall = shortfall + 1 WHERE cause = 'reversal'",
        "UPDATE ledger_entries SET shortfall = shortfall - 1 WHERE cause = 'reversal'",
    ),
    (
        &["L1", "L6"],
        "UPDATE ledger_entries SET amount = amount - 1 WHERE cause = 'reversal'",
        "UPDATE ledger_entries SET amount = amount + 1 WHERE cause = 'reversal'",
    ),
    (
        &["L6", "L8"],
        "UPDATE referrals SET status = 'successful' WHERE status = 'reversed'",
        "UPDATE referrals f SET status = 'reversed' FROM rewards r WHERE r.referral_id = f.id AND r.reversed_at IS NOT NULL",
    ),
    (
        &["L6"],
        "CREATE TABLE kept AS TABLE rewards; UPDATE rewards SET reversed_at = NULL, shortfall = NULL",
        "UPDATE rewards r SET reversed_at = kept.reversed_at, shortfall = kept.shortfall FROM kept WHERE kept.id = r.id;
         DROP TABLE kept",
    ),
    (
        &["L7"],
        "UPDATE reward_tallies SET granted = granted + 1",
        "UPDATE reward_tallies SET granted = granted - 1",
    ),
    (
        &["L7"],
        "UPDATE reward_rules SET max_total = 1 WHERE max_total = 100",
        "UPDATE reward_rules SET max_total = 100 WHERE max_total = 1",
    ),
    (
        &["L7"],
        "UPDATE reward_rules SET max_per_month = 1 WHERE max_per_month = 50",
        "UPDATE reward_rules SET max_per_month = 50 WHERE max_per_month = 1",
    ),
    (
        &["L9"],
        "CREATE TABLE kept AS TABLE premium_periods; DELETE FROM premium_periods WHERE redemption_id IS NOT NULL",
        "INSERT INTO premium_periods SELECT * FROM kept WHERE redemption_id IS NOT NULL; DROP TABLE kept",
    ),
    (
        &["L1", "L9"],
        "CREATE TABLE kept AS TABLE ledger_entries; DELETE FROM ledger_entries WHERE cause = 'redemption' AND kind = 'credits'",
        "INSERT INTO ledger_entries SELECT * FROM kept WHERE cause = 'redemption' AND kind = 'credits'; DROP TABLE kept",
    ),
    (
        &["L5"],
        "ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_cause_check;
         CREATE TABLE kept AS TABLE ledger_entries;
         UPDATE ledger_entries SET cause = 'luck', reason = NULL, idempotency_key = NULL WHERE cause = 'admin'",
        "UPDATE ledger_entries e SET cause = kept.cause, reason = kept.reason, idempotency_key = kept.idempotency_key
         FROM kept WHERE kept.id = e.id; DROP TABLE kept",
    ),
];

async fn damage_and_mend(desk: &Desk, table: &[(&[&str], &str, &str)]) {
    for (invariants, damage, mending) in table {
        past_the_guards(desk, damage).await;
        assert_eq!(desk.broken_invariants().await, *invariants, "{damage}");
        past_the_guards(desk, mending).await;
        assert_eq!(desk.broken_invariants().await, [""; 0], "mended: {mending}");
    }
}

#[tokio::test]
async fn l3_l5_l6_l7_l9_damage_to_what_was_spent_and_reversed_is_found_and_named() {
    damage_and_mend(&used_books().await, &DAMAGE_OF_USED).await;
}

#[tokio::test]
async fn l1_l2_l3_l4_l5_l8_l9_each_damage_is_found_and_named() {
    damage_and_mend(&books().await, &DAMAGE).await;
    let all = DAMAGE.iter().chain(&DAMAGE_OF_USED);
    let broken: Vec<_> = all.flat_map(|(invariants, ..)| invariants.iter()).collect();
    for invariant in INVARIANTS {
        assert!(broken.contains(&&invariant.id), "{} has its damage here", invariant.id);
    }
}

/// A grant that is posted twice, with a balance to match: every sum agrees.
#[tokio::test]
async fn l9_a_grant_with_two_entries_is_found() {
    let desk = books().await;
    past_the_guards(
        &desk,
        "ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_reward_id_key;
         INSERT INTO ledger_entries SELECT gen_random_uuid(), user_id, kind, amount, balance_after + amount, cause,
            reward_id, created_at FROM ledger_entries WHERE kind = 'premium';
         UPDATE balances SET amount = 2 * amount WHERE kind = 'premium'",
    )
    .await;
    assert_eq!(desk.broken_invariants().await, ["L9"]);
}

async fn past_the_guards(desk: &Desk, statements: &str) {
    desk.sql(&format!(
        "SET session_replication_role = replica; {statements}; SET session_replication_role = origin"
    ))
    .await;
}

#[tokio::test]
async fn check_ledger_says_so_in_json_and_by_its_exit_code() {
    let desk = books().await;
    let (report, code) = check_ledger(&desk, &["--json"]).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!((&report["ok"], &report["violations"]), (&true.into(), &0.into()));
    let ids: Vec<_> = report["invariants"].as_array().unwrap().iter().map(|i| i["id"].clone()).collect();
    assert_eq!(ids, INVARIANTS.map(|invariant| Value::from(invariant.id)));
    let (lines, code) = check_ledger(&desk, &[]).await;
    assert_eq!((lines.lines().last(), code), (Some("0 violations"), Some(0)));

    desk.sql("UPDATE balances SET amount = amount + 1 WHERE kind = 'credits'").await;
    let accounts = desk.count("balances WHERE kind = 'credits'").await;
    let (report, code) = check_ledger(&desk, &["--json"]).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(code, Some(1));
    assert_eq!((&report["ok"], &report["violations"]), (&false.into(), &accounts.into()));
    assert_eq!(report["invariants"][0]["violations"], accounts);
    let ada = desk.id("SELECT id FROM users WHERE username = 'ada'").await.to_string();
    let examples = report["invariants"][0]["examples"].to_string();
    assert!(examples.contains(&ada) && !examples.contains("example.org"), "{examples}");
    let (lines, code) = check_ledger(&desk, &[]).await;
    assert_eq!(code, Some(1));
    assert!(lines.contains(&format!("L1  BROKEN by {accounts}")) && lines.contains(&ada), "{lines}");
}

#[tokio::test]
async fn check_ledger_without_a_database_is_an_error_of_its_own() {
    let mut settings = TestSettings::new("postgres://nobody@127.0.0.1:1/none");
    settings.set("SMTP_URL", "smtp://127.0.0.1:1");
    let output = Program::Worker.run(&["check-ledger", "--json"], &settings, &std::env::temp_dir()).await;
    assert_eq!(output.status.code(), Some(2), "neither sound nor broken");
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("the database cannot be reached"));
}

async fn check_ledger(desk: &Desk, arguments: &[&str]) -> (String, Option<i32>) {
    let arguments = [&["check-ledger"], arguments].concat();
    let output = Program::Worker.run(&arguments, &desk.settings, &std::env::temp_dir()).await;
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}
