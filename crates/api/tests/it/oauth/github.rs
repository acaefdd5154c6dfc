//! GitHub, which is no OpenID provider: who somebody is comes from its API.

use serde_json::json;
use testkit::provider::{Person, Provider};

use super::trip::{app, begin, sign_in};

#[tokio::test(flavor = "multi_thread")]
async fn a17_github_signs_in_by_its_number_and_its_confirmed_primary_address() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let begun = begin(&app.client(), "github", "").await;
    assert_eq!(
        (begun["scope"].as_str(), begun["code_challenge_method"].as_str()),
        ("read:user user:email", "S256")
    );
    let browser = app.client();
    sign_in(&app, &browser, &provider, "github", "").await.expect(303);
    let me = browser.get("/api/me/").await.json();
    assert_eq!(
        (&me["username"], &me["email"], &me["email_verified"]),
        (&json!("ada"), &json!("ada@example.org"), &json!(true))
    );
    // A name and an address there may become somebody else's; the number does not.
    provider.is_good_with(Person { subject: Person::new("ada").subject, ..Person::new("countess") });
    let other = app.client();
    sign_in(&app, &other, &provider, "github", "").await.expect(303);
    assert_eq!(other.get("/api/me/").await.json()["id"], me["id"]);
    // Somebody who has taken the name over.
    provider.is_good_with(Person {
        subject: "new".to_owned(),
        email: Some("eve@example.org".to_owned()),
        ..Person::new("ada")
    });
    let eve = app.client();
    sign_in(&app, &eve, &provider, "github", "").await.expect(303);
    let eve = eve.get("/api/me/").await.json();
    assert_ne!(eve["id"], me["id"]);
    assert_eq!(eve["username"], "eve", "the next best name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_github_without_a_primary_address_makes_no_account() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    provider.is_good_with(Person { email: None, ..Person::new("ada") });
    let reply = sign_in(&app, &app.client(), &provider, "github", "").await.expect(422);
    assert_eq!(reply.code(), "email_missing");
    provider.is_good_with(Person { email_verified: false, ..Person::new("ada") });
    app.register("ada", None).await.expect(201);
    sign_in(&app, &app.client(), &provider, "github", "").await.expect(409);
}
