//! Following links, and what is counted of it.

mod counting;
mod figures;
mod redirect;
mod stream;

use serde_json::Value;
use testkit::app::{TestApp, eventually};
use testkit::client::{Client, Reply};
use uuid::Uuid;

/// A browser as people have it.
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

/// Another one.
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                     Version/26.0 Mobile/15E148 Safari/604.1";

/// An api that believes the test where requests come from, and a worker if the test wants it.
async fn app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
        settings.set("TRUSTED_PROXIES", "127.0.0.1");
    })
    .await
}

/// Somebody with a page.
struct Owner {
    id: Uuid,
    client: Client,
}

impl Owner {
    /// Registers somebody; their address counts as confirmed.
    async fn of(app: &TestApp, username: &str) -> Self {
        let client = app.member(username).await;
        let sql = "UPDATE users SET email_verified_at = now() WHERE username = $1 RETURNING id::text";
        let id: String = app.database.query_one(sql, &[&username]).await.unwrap().get(0);
        let sql = format!(
            "INSERT INTO profiles (user_id, updated_at) VALUES ('{id}', now()) ON CONFLICT DO NOTHING"
        );
        app.database.batch_execute(&sql).await.unwrap();
        Self { id: id.parse().unwrap(), client }
    }

    /// A new link on their page.
    async fn link(&self, app: &TestApp, title: &str, url: &str) -> Uuid {
        let id = Uuid::now_v7();
        let owner = self.id;
        let sql = format!(
            "INSERT INTO links (id, user_id, kind, title, url, position, created_at, updated_at)
             SELECT '{id}', '{owner}', 'link', $1, $2, count(*)::int, now(), now() FROM links WHERE user_id = '{owner}'"
        );
        app.database.execute(&sql, &[&title, &url]).await.unwrap();
        id
    }

    /// The figures of a link of today.
    async fn stats(&self, link: Uuid) -> Value {
        self.client.get(&format!("/api/links/{link}/stats/")).await.expect(200).json()
    }

    /// The figures of the page.
    async fn page_stats(&self) -> Value {
        self.client.get("/api/profile/stats/").await.expect(200).json()
    }

    /// The totals of a link, once they are these. Every request is in one of the numbers, and they are counted in order, so
    /// nothing is missing then.
    async fn until(&self, link: Uuid, totals: &str) {
        eventually("the clicks are counted", async || match summary(&self.stats(link).await["totals"]) {
            found if found == totals => Ok(()),
            found => Err(found),
        })
        .await;
    }
}

/// `clicks/unique/bots/own`
fn summary(totals: &Value) -> String {
    format!("{}/{}/{}/{}", totals["clicks"], totals["unique"], totals["bots"], totals["own"])
}

/// A visitor's browser.
fn visitor(app: &TestApp, address: &str, agent: &str) -> Client {
    app.client().with_header("X-Forwarded-For", address).with_header("User-Agent", agent)
}

async fn click(client: &Client, link: Uuid) -> Reply {
    client.get(&format!("/l/{link}")).await.expect(302)
}
