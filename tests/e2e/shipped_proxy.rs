//! The proxy configuration that is shipped, `deploy/haproxy.cfg`, in front of real processes: what it keeps away from them,
//! what it tells them, and how they are replaced behind it.

mod drips;
mod framing;
mod replacement;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::within;
use testkit::balancer::{Balancer, SOURCE};
use testkit::client::{Client, Reply};
use testkit::process::Process;
use testkit::stack::{RECOVERY, Stack, StackOptions, credentials, registration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const PUBLIC_URL: &str = "https://trellis.test";

/// What the processes behind it need to know: their address, and who may speak for others.
const BEHIND_IT: [(&str, &str); 3] =
    [("PUBLIC_URL", PUBLIC_URL), ("TRUSTED_PROXIES", SOURCE), ("DRAIN_SECONDS", "0")];

/// Two processes behind it.
async fn stage(settings: &[(&str, &str)]) -> (Stack, Balancer) {
    let settings = [&BEHIND_IT, settings].concat();
    let stack = Stack::start(StackOptions { apis: 2, workers: 1, settings: &settings }).await;
    let proxy = shipped(&addresses(&stack), &[]).await;
    (stack, proxy)
}

fn addresses(stack: &Stack) -> Vec<String> {
    stack.apis.iter().map(|api| api.base().replace("http://", "")).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The shipped proxy in front of these addresses; `more` goes into its environment.
async fn shipped(apis: &[String], more: &[(&str, &str)]) -> Balancer {
    let names: Vec<String> = (1..=apis.len()).map(|number| format!("API_{number}")).collect();
    let mut environment = vec![
        ("PUBLIC_URL", PUBLIC_URL),
        ("PLAIN_BIND", "fd@3"),
        ("SOURCE_ADDRESS", SOURCE),
        ("MAX_CONNECTIONS", "2000"),
    ];
    environment.extend(names.iter().zip(apis).map(|(name, api)| (name.as_str(), api.as_str())));
    environment.extend(more);
    Balancer::start(&root().join("deploy/haproxy.cfg"), &environment).await
}

fn host_of(base: &str) -> &str {
    base.trim_start_matches("http://")
}

/// Everything that is answered until the connection is closed on us, from the moment of the last word.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A close with bytes of ours unread may come as a reset, after the answer.
    let _ended = tokio::time::timeout(Duration::from_secs(30), read).await.expect("it is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Says these bytes and no more; what is answered.
async fn say(base: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(host_of(base)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    answer(&mut stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn h4_behind_the_shipped_proxy_each_client_is_limited_by_itself_whatever_it_writes() {
    let (stack, proxy) = stage(&[("RATE_LIMITS", "on")]).await;
    let client = Client::new(&proxy.base());
    let guess = async |client: Client, number: usize| {
        let body = json!({ "identifier": format!("nobody{number}"), "password": "not-this-one" });
        client.post("/api/login/", body).await.status
    };
    // An address that is made up each time is nobody's.
    let attacker = client.calling_from("127.3.1.1");
    let mut statuses = Vec::new();
    for number in 0..130 {
        let forged = attacker.with_header("X-Forwarded-For", &format!("6.6.{number}.6"));
        let forged = forged.with_header("X_Forwarded_For", "6.6.6.6").with_header("Forwarded", "for=6.6.6.6");
        statuses.push(guess(forged, number).await);
    }
    assert_eq!(statuses.first(), Some(&401));
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    // Somebody from elsewhere is not slowed by it, though all of them come through one proxy.
    assert_eq!(guess(client.calling_from("127.3.2.1"), 0).await, 401);
    drop(stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_what_the_shipped_proxy_answers_itself_is_a_problem_with_all_headers() {
    let (stack, proxy) = stage(&[]).await;
    let client = Client::new(&proxy.base());
    let look = |reply: &Reply, status: u16, code: &str| {
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{reply:?}");
        assert_eq!(reply.json()["type"], format!("{PUBLIC_URL}/problems/{code}"), "{reply:?}");
        let direct =
            ["x-content-type-options", "referrer-policy", "content-security-policy", "cache-control"];
        for name in direct.into_iter().chain(["strict-transport-security", "x-request-id"]) {
            assert!(reply.headers.contains_key(name), "{name}: {reply:?}");
        }
        for name in ["server", "x-powered-by", "via", "x-forwarded-for"] {
            assert!(!reply.headers.contains_key(name), "{name}: {reply:?}");
        }
    };
    let names: Vec<String> = (0..150).map(|number| format!("X-H-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let reply = client.send(reqwest::Method::GET, "/health/live", None, &many).await;
    look(&reply, 431, "header_fields_too_large");
    look(&client.get("/nope").await, 404, "not_found");
    drop(stack);
    let gone = within(RECOVERY, "it sees that nobody is there", async || {
        let reply = client.try_send(reqwest::Method::GET, "/health/live", None, &[]).await.unwrap();
        if reply.status == 503 { Ok(reply) } else { Err(reply.text()) }
    })
    .await;
    look(&gone, 503, "unavailable");
    assert!(gone.headers.contains_key("retry-after"), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h10_one_address_cannot_take_every_place_of_the_shipped_proxy() {
    let stack = Stack::start(StackOptions { apis: 1, workers: 0, settings: &BEHIND_IT }).await;
    let proxy = shipped(&addresses(&stack), &[("MAX_PER_ADDRESS", "20")]).await;
    let address = host_of(&proxy.base()).parse().unwrap();
    let connect = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.3.3.3:0".parse().unwrap()).unwrap();
        socket.connect(address).await
    };
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = connect().await.unwrap();
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    // It is closed at once, perhaps before we know that it was open.
    if let Ok(mut refused) = connect().await {
        assert_eq!(answer(&mut refused).await, "");
    }
    Client::new(&proxy.base()).calling_from("127.3.3.4").get("/health/live").await.expect(200);
    // Whoever leaves makes room.
    held.clear();
    within(RECOVERY, "there is room again", async || {
        let mut stream = connect().await.map_err(|error| error.to_string())?;
        let request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let _gone = stream.write_all(request).await;
        match answer(&mut stream).await {
            said if said.starts_with("HTTP/1.1 200") => Ok(()),
            said => Err(said),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_one_request_id_leads_from_the_proxy_through_the_api_to_the_job() {
    let (stack, proxy) = stage(&[]).await;
    let client = Client::new(&proxy.base());
    let made = client.post("/api/register/", registration("ada", None)).await.expect(201);
    let given = client.with_header("X-Request-Id", "client-7.b_X");
    given.post("/api/register/", registration("bob", None)).await.expect(201);
    let ids = [made.header("x-request-id").unwrap().to_owned(), "client-7.b_X".to_owned()];
    for name in ["ada", "bob"] {
        stack.mail_to(name).await;
    }
    stack.jobs_done().await;
    for id in ids {
        let rows: i64 =
            stack.database.value(&format!("SELECT count(*) FROM outbox WHERE request_id = '{id}'")).await;
        assert!(rows > 0, "no job has {id}");
        let lines = |log: &str| -> Vec<Value> {
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.filter(|line| line.to_string().contains(&id)).collect()
        };
        assert_eq!(lines(&proxy.log()).len(), 1, "{}", proxy.log());
        let api: Vec<String> = stack.apis.iter().map(Process::log).collect();
        let said: Vec<Value> = api.iter().flat_map(|log| lines(log)).collect();
        assert!(said.iter().any(|line| line["message"] == "registered an account"), "{said:?}");
        assert!(said.iter().any(|line| line["message"] == "answered a request"), "{said:?}");
        assert!(!lines(&stack.workers[0].log()).is_empty(), "the worker does not say {id}");
    }
    // What no client may choose is replaced, here as in the api.
    for bad in ["a b", "<script>", "x".repeat(129).as_str()] {
        let reply = client.with_header("X-Request-Id", bad).get("/health/live").await.expect(200);
        assert_ne!(reply.header("x-request-id"), Some(bad));
    }
    // The proxy's log is as silent about people as ours.
    client.get("/reset-password?token=zq-canary-7422").await.expect(200);
    client.post("/api/login/", credentials("ada")).await.expect(200);
    let log = proxy.log();
    for canary in ["zq-canary", "reset-password", "127.0.0.1", "ada"] {
        assert!(!log.contains(canary), "{canary}: {log}");
    }
}

/// Twenty clients at once: each gets an answer of its own, whoever's connection it travels on.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_share_connections_never_get_each_others_answers() {
    let (stack, proxy) = stage(&[]).await;
    let base = proxy.base();
    let people = join_all((0..20).map(|number| {
        let (base, stack) = (base.clone(), &stack);
        async move {
            let name = format!("person{number}");
            stack.register(number % 2, &name, None).await.expect(201);
            let client = Client::new(&base);
            client.post("/api/login/", credentials(&name)).await.expect(200);
            (name, client)
        }
    }))
    .await;
    for _ in 0..5 {
        join_all(people.iter().map(|(name, client)| async move {
            assert_eq!(client.get("/api/me/").await.expect(200).json()["username"], name.as_str());
        }))
        .await;
    }
}
