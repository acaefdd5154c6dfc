//! `PUT /api/links/order/`: all or nothing.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::client::Client;

use crate::support::{add_link, quick_app, with_page};

const PATH: &str = "/api/links/order/";

async fn ids(client: &Client) -> Vec<Value> {
    let list = client.get("/api/links/").await.expect(200).json();
    list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_names_every_link_once_or_changes_nothing() {
    let app = quick_app().await;
    let (ada, bob) = (with_page(&app, "ada").await, with_page(&app, "bob").await);
    ada.put(PATH, json!({ "ids": [] })).await.expect(200);
    for title in ["one", "two", "three"] {
        add_link(&ada, title).await;
    }
    let stranger = add_link(&bob, "bob's").await["id"].clone();
    let before = ids(&ada).await;
    let [one, two, three] = [before[0].clone(), before[1].clone(), before[2].clone()];
    let unknown = json!("019a0000-0000-7000-8000-000000000001");
    let version = ada.get("/api/profile/").await.json()["version"].clone();
    for (wrong, error) in [
        (json!([]), "/ids invalid_value"),
        (json!([one, two]), "/ids invalid_value"),
        (json!([one, two, two]), "/ids invalid_value"),
        (json!([one, two, three, three]), "/ids invalid_value"),
        (json!([one, two, three, unknown]), "/ids invalid_value"),
        (json!([one, two, stranger]), "/ids invalid_value"),
        (json!([one, two, "x"]), "/ids/2 invalid_value"),
        (json!([one, two, null]), "/ids/2 wrong_type"),
        (json!("x"), "/ids wrong_type"),
        (json!(null), "/ids wrong_type"),
        (json!(vec![one.clone(); 1_001]), "/ids too_long"),
    ] {
        let reply = ada.put(PATH, json!({ "ids": wrong })).await;
        assert_eq!((reply.status, &reply.errors()[..]), (422, &[error.to_owned()][..]), "{wrong}");
        assert_eq!(ids(&ada).await, before, "{wrong}");
    }
    assert_eq!(ada.put(PATH, json!({})).await.expect(422).errors(), ["/ids required"]);
    assert_eq!(ada.get("/api/profile/").await.json()["version"], version);

    let wanted = [three, one, two];
    let reply = ada.put(PATH, json!({ "ids": wanted })).await.expect(200).json();
    let shown: Vec<_> = reply["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!((shown, ids(&ada).await), (wanted.to_vec(), wanted.to_vec()));
    assert_eq!(ids(&bob).await, [stranger]);
    // Upper case is the same id, and the same order again is no error.
    let upper: Vec<_> = wanted.iter().map(|id| id.as_str().unwrap().to_uppercase()).collect();
    ada.put(PATH, json!({ "ids": upper })).await.expect(200);
    let last = add_link(&ada, "four").await["id"].clone();
    assert_eq!(ids(&ada).await.last(), Some(&last));
}

/// Whichever is last holds as a whole: no mixture of two orders.
#[tokio::test(flavor = "multi_thread")]
async fn orders_at_once_never_mix() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    for index in 0..6 {
        add_link(&ada, &format!("link {index}")).await;
    }
    let forward = ids(&ada).await;
    let backward: Vec<_> = forward.iter().rev().cloned().collect();
    let orders = [&forward, &backward];
    let replies = join_all((0..20).map(|index| ada.put(PATH, json!({ "ids": orders[index % 2] })))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    let last = ids(&ada).await;
    assert!(last == forward || last == backward, "{last:?}");
}
