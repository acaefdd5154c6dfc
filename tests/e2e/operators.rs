//! What operators do from the command line, with the real binary.

use std::process::Output;

use testkit::process::Program;
use testkit::stack::{Stack, StackOptions};

async fn admin(stack: &Stack, arguments: &[&str]) -> Output {
    stack.command(Program::Api, &[&["admin"], arguments].concat()).await
}

/// What a command that succeeds says.
async fn said(stack: &Stack, arguments: &[&str]) -> String {
    let output = admin(stack, arguments).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// What a command that fails complains of.
async fn refused(stack: &Stack, arguments: &[&str]) -> String {
    let output = admin(stack, arguments).await;
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_an_operator_decides_blocks_and_adjusts_and_each_is_on_record_once() {
    let options =
        StackOptions { settings: &[("REFERRAL_QUALIFIES_ON", "registration")], ..Default::default() };
    let stack = Stack::start(options).await;
    let ada = stack.register(0, "ada", None).await.expect(201).json();
    let id = ada["user"]["id"].as_str().unwrap();
    stack.register(0, "bob", ada["user"]["referral_code"].as_str()).await.expect(201);
    stack.jobs_done().await;
    let referral: String = stack.database.value("SELECT id::text FROM referrals").await;

    let give = ["adjust", id, "25.00", "--reason", "a prize", "--key", "prize"];
    assert_eq!(said(&stack, &give).await, "the account has 35.00 credits");
    assert_eq!(said(&stack, &give).await, "the account has 35.00 credits, as before");
    assert_eq!(
        said(&stack, &["adjust", id, "-5.50", "--reason", "a mistake", "--key", "mistake"]).await,
        "the account has 29.50 credits"
    );
    assert!(
        refused(&stack, &["adjust", id, "-99", "--reason", "too much", "--key", "much"])
            .await
            .contains("only 29.50 credits")
    );
    let nameless = refused(&stack, &["adjust", id, "1", "--reason", "twice?"]).await;
    assert!(nameless.contains("--key"), "{nameless}");
    assert!(
        refused(&stack, &["adjust", id, "1.005", "--reason", "odd", "--key", "odd"]).await.contains("amount")
    );
    for blank in ["", "  "] {
        assert!(
            refused(&stack, &["adjust", id, "1", "--reason", blank, "--key", "blank"])
                .await
                .contains("--reason")
        );
    }
    let nobody = uuid::Uuid::now_v7().to_string();
    assert!(
        refused(&stack, &["adjust", &nobody, "1", "--reason", "who", "--key", "who"])
            .await
            .contains("no such account")
    );

    let reverse = ["reverse", &referral, "--reason", "one person"];
    assert_eq!(said(&stack, &reverse).await, "the referral is reversed");
    assert_eq!(said(&stack, &reverse).await, "the referral is reversed, as before");
    assert!(refused(&stack, &["approve", &referral, "--reason", "late"]).await.contains("reversed"));
    assert_eq!(said(&stack, &["block", id, "--reason", "fraud"]).await, "done");
    assert_eq!(said(&stack, &["block", id, "--reason", "fraud"]).await, "it was blocked before");
    assert_eq!(said(&stack, &["unblock", id, "--reason", "sorry"]).await, "done");

    let record: String = stack
        .database
        .value("SELECT string_agg(event || ': ' || reason, ', ' ORDER BY id) FROM security_events WHERE actor = 'operator'")
        .await;
    assert_eq!(
        record,
        "credits_adjusted: a prize, credits_adjusted: a mistake, referral_reversed: one person, \
         account_blocked: fraud, account_unblocked: sorry"
    );
    stack.check_ledger().await;

    let queue = said(&stack, &["referrals", "--status", "reversed", "--search", "bo"]).await;
    assert!(
        queue.starts_with(&referral) && queue.ends_with("reversed  reversed_by_manager  ada -> bob"),
        "{queue}"
    );
    assert_eq!(said(&stack, &["referrals", "--status", "review"]).await, "");
    let found = said(&stack, &["users", "--search", "ad"]).await;
    assert!(
        found.starts_with(id) && found.contains("successful=0") && found.contains("reversed=1"),
        "{found}"
    );
    let audit = said(&stack, &["audit", "--subject", &referral, "--event", "referral_reversed"]).await;
    assert!(audit.ends_with(&format!("by operator  about {referral}  one person")), "{audit}");
    assert_eq!(said(&stack, &["audit", "--limit", "2"]).await.lines().count(), 2);
    assert!(refused(&stack, &["audit", "--event", "nothing"]).await.contains("no such event"));
    assert!(refused(&stack, &["referrals", "--status", "odd"]).await.contains("review"));
}
