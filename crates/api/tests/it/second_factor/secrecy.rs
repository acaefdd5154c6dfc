//! What is kept of a factor, and where.

use secrecy::ExposeSecret as _;
use testkit::app::{PASSWORD, TestApp};
use testkit::config::SECRET_KEY;
use testkit::dump;
use testkit::redis::RedisServer;

use super::{Owner, challenge, second_half, sign_in};
use crate::support::hex;

#[tokio::test(flavor = "multi_thread")]
async fn s7_no_table_and_no_queue_holds_a_secret_or_a_recovery_code() {
    let redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let mut app = TestApp::api_with(|settings| {
        settings.set("REDIS_URL", url.expose_secret()).set("RATE_LIMITS", "on");
    })
    .await;
    let ada = Owner::new(&app, "ada").await;
    let client = app.client();
    let challenge = challenge(&client, "ada").await;
    second_half(&client, &challenge, &ada.recovery_codes[0]).await.expect(200);
    let mut connection = redis.connection().await.unwrap();
    let mut held = dump::redis(&mut connection).await;
    app.start_worker();
    app.jobs_done().await;
    held.extend(dump::redis(&mut connection).await);

    let mut secrets =
        vec![ada.authenticator.text.clone(), hex(&ada.authenticator.secret), challenge, PASSWORD.to_owned()];
    for code in &ada.recovery_codes {
        secrets.extend([code.clone(), code.replace('-', ""), hex(code.replace('-', "").as_bytes())]);
    }
    for secret in &secrets {
        assert_eq!(dump::holding(&app.database, secret).await, [""; 0], "{secret}");
        assert!(!held.iter().any(|value| value.contains(secret)), "{secret}");
        assert!(app.mail.mails().iter().all(|mail| !mail.text.contains(secret)), "{secret}");
    }
    // What would be found is found.
    let bare = ada.recovery_codes[1].replace('-', "");
    let digest = hex(domain::token::Digest::of(bare.as_bytes()).as_slice());
    assert_eq!(dump::holding(&app.database, &digest).await.len(), 1);
    assert!(held.iter().any(|value| value.contains(":limit:")), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_new_key_opens_what_the_one_before_sealed_and_seals_it_anew() {
    const NEW_KEY: &str = "Zt5Qw8Er2Ty6Ui1Op4As7Df3Gh9Jk0Lx-testing";
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let sealed = async || app.database.value::<Vec<u8>>("SELECT sealed_secret FROM totp_factors").await;
    let before = sealed().await;
    let sign_in_at = async |base: &str, code: &str| {
        let client = app.client().at(base);
        let challenge = challenge(&client, "ada").await;
        let body = serde_json::json!({ "challenge": challenge, "code": code }).to_string().into_bytes();
        let path = "/api/login/factor/";
        client.try_send(reqwest::Method::POST, path, Some(("application/json", body)), &[]).await.unwrap()
    };
    // Without the former key the app's codes cannot be checked, which the log says; recovery codes still are.
    let forgetful = app
        .replica_with(|settings| {
            settings.set("SECRET_KEY", NEW_KEY);
        })
        .await;
    sign_in_at(&forgetful.base(), &ada.authenticator.next_code(&app)).await.expect(500);
    sign_in_at(&forgetful.base(), &ada.recovery_codes[0]).await.expect(200);
    assert_eq!(sealed().await, before);

    let renewed = app
        .replica_with(|settings| {
            settings.set("SECRET_KEY", NEW_KEY).set("FACTOR_KEY_PREVIOUS", SECRET_KEY);
        })
        .await;
    sign_in_at(&renewed.base(), &ada.authenticator.next_code(&app)).await.expect(200);
    assert_ne!(sealed().await, before);
    // From here on the former key is not needed any more, and opens nothing.
    sign_in_at(&forgetful.base(), &ada.authenticator.next_code(&app)).await.expect(200);
    let code = ada.authenticator.next_code(&app);
    sign_in_at(&app.base(), &code).await.expect(500);
}

/// The other rows of the record are looked at by its own tests: none of these events holds more than ids.
#[tokio::test(flavor = "multi_thread")]
async fn s7_the_record_of_a_failed_code_does_not_hold_it() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let wrong = ada.authenticator.wrong_code(&app);
    sign_in(&app, "ada", &wrong).await.expect(401);
    let sql = "SELECT string_agg(event || coalesce(reason, ''), ' ') FROM security_events";
    let record: String = app.database.value(sql).await;
    assert!(record.contains("factor_failed") && !record.contains(&wrong), "{record}");
}
