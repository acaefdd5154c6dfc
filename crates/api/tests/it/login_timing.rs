//! That the time of a failed sign-in tells nothing, with a control that shows that this test would notice.

use std::future::Future;

use serde_json::json;
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::support::OTHER_PASSWORD;
use crate::timing::{Medians, PAIRS};

fn fail(client: &Client, identifier: &str) -> impl Future<Output = Reply> + use<> {
    let (client, body) = (client.clone(), json!({ "identifier": identifier, "password": OTHER_PASSWORD }));
    async move { client.post("/api/login/", body).await.expect(401) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_signing_in_takes_as_long_for_nobody_as_for_somebody() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let client = app.client();
    let medians = Medians::of(PAIRS, || fail(&client, "nobody"), || fail(&client, "ada")).await;
    assert!(!medians.differ(), "{medians:?}");
}

/// The second server leaves out the hash of nobody: the same statistic tells the two apart.
#[tokio::test(flavor = "multi_thread")]
async fn a4_the_test_notices_when_nobodys_password_is_not_hashed() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let careless = app.replica_tuned(|config| config.hash_for_nobody = false).await;
    let client = app.client().at(&careless.base());
    let medians = Medians::of(PAIRS, || fail(&client, "nobody"), || fail(&client, "ada")).await;
    assert!(medians.differ(), "{medians:?}");
}
