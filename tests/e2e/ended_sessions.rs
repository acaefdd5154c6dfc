//! Every way to end a session, on three replicas behind a load balancer: refused by all of them within a second, with Redis
//! up, just emptied, and down.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::app::PASSWORD;
use testkit::balancer::Balancer;
use testkit::client::Client;
use testkit::stack::{Stack, StackOptions, busy, credentials};
use tokio::time::sleep;

/// How long a session that ended may be taken.
const PROMISED: Duration = Duration::from_secs(1);

const NEW_PASSWORD: &str = "Jx4-walnut-harbour";

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Logout,
    EndOne,
    EndOthers,
    ChangePassword,
    ResetPassword,
    DeleteAccount,
}

const WAYS: [Way; 6] =
    [Way::Logout, Way::EndOne, Way::EndOthers, Way::ChangePassword, Way::ResetPassword, Way::DeleteAccount];

/// What becomes of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redis {
    Up,
    Emptied,
    Down,
}

/// Somebody with three sessions: two browsers of their own, and a thief who has the cookies of the second.
struct Person {
    way: Way,
    here: Client,
    there: Client,
    thief: Client,
    reset_token: String,
}

impl Person {
    async fn prepare(stack: &Stack, balancer: &Balancer, way: Way, redis: Redis) -> Self {
        let name = format!("{way:?}-{redis:?}").to_lowercase();
        stack.register(0, &name, None).await.expect(201);
        let browser = async || {
            let client = Client::new(&balancer.base());
            client.post("/api/login/", credentials(&name)).await.expect(200);
            client
        };
        let (here, there) = (browser().await, browser().await);
        // Asked for after signing in, which makes earlier ones void.
        let mut reset_token = String::new();
        if way == Way::ResetPassword {
            let address = format!("{name}@example.org");
            here.post("/api/forgot-password/", json!({ "email": address })).await.expect(202);
            let reset = testkit::app::within(testkit::stack::RECOVERY, "the mail arrives", async || {
                let mails = stack.mail.mails();
                let to_them = mails.iter().filter(|mail| mail.to.contains(&address));
                let mut resets =
                    to_them.filter(|mail| mail.links().iter().any(|link| link.contains("/reset-password?")));
                resets.find_map(testkit::smtp::Mail::token).ok_or_else(|| format!("{} mails", mails.len()))
            });
            reset_token = reset.await;
        }
        let thief = there.stolen();
        Self { way, here, there, thief, reset_token }
    }

    /// Lets every replica know the sessions, and ends them.
    async fn act(&self, stack: &Stack) {
        for api in &stack.apis {
            for browser in [&self.here, &self.thief] {
                browser.at(&api.base()).get("/api/me/").await.expect(200);
            }
        }
        match self.way {
            Way::Logout => self.there.post_empty("/api/logout/").await.expect(204),
            Way::EndOne => {
                let items = self.thief.get("/api/sessions/").await.expect(200).json();
                let own = items["items"].as_array().unwrap().iter().find(|item| item["current"] == true);
                let id = own.unwrap()["id"].as_str().unwrap().to_owned();
                self.here.delete_empty(&format!("/api/sessions/{id}/")).await.expect(204)
            }
            Way::EndOthers => self.here.delete_empty("/api/sessions/").await.expect(204),
            Way::ChangePassword => {
                let body = json!({ "current_password": PASSWORD, "password": NEW_PASSWORD });
                self.here.post("/api/me/password/", body).await.expect(204)
            }
            Way::ResetPassword => {
                let body = json!({ "token": self.reset_token, "password": NEW_PASSWORD });
                stack.client(0).post("/api/reset-password/", body).await.expect(204)
            }
            Way::DeleteAccount => {
                self.here.stolen().delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202)
            }
        };
    }

    /// Asserts that every replica refuses what ended since `ended`, and takes what did not.
    async fn look(&self, stack: &Stack, ended: Instant, redis: Redis) {
        let what = format!("{:?} with Redis {redis:?}", self.way);
        for api in &stack.apis {
            let thief = self.thief.at(&api.base());
            while thief.get("/api/me/").await.status != 401 {
                assert!(ended.elapsed() < PROMISED, "{what}: {} still takes it", api.name());
                sleep(Duration::from_millis(10)).await;
            }
            thief.get("/api/referral-stats/").await.expect(401);
            thief.post_empty("/api/token/refresh/").await.expect(401);
            let kept = match self.way {
                Way::Logout | Way::EndOne | Way::EndOthers | Way::ChangePassword => 200,
                Way::ResetPassword | Way::DeleteAccount => 401,
            };
            assert_eq!(self.here.stolen().at(&api.base()).get("/api/me/").await.status, kept, "{what}: here");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_t7_however_a_session_ends_every_replica_refuses_it_within_a_second() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions { apis: 3, workers: 1, settings: &[] }).await;
    let balancer = Balancer::over(&stack.apis).await;
    let mut everybody = Vec::new();
    for redis in [Redis::Up, Redis::Emptied, Redis::Down] {
        let mut people = Vec::new();
        for way in WAYS {
            people.push(Person::prepare(&stack, &balancer, way, redis).await);
        }
        if redis == Redis::Down {
            stack.redis.stop().await.unwrap();
        }
        for person in &people {
            person.act(&stack).await;
            let ended = Instant::now();
            if redis == Redis::Emptied {
                stack.redis.empty().await.unwrap();
            }
            person.look(&stack, ended, redis).await;
        }
        everybody.append(&mut people);
    }
    // Redis comes back knowing nothing, and nothing comes back with it.
    stack.redis.restart().await.unwrap();
    let long_ago = Instant::now().checked_sub(PROMISED).unwrap();
    for person in &everybody {
        person.look(&stack, long_ago, Redis::Up).await;
    }
}
