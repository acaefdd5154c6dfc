//! An identity provider for tests: OpenID Connect and the part of GitHub's API that Trellis uses, over a socket, with keys
//! of its own; strict with its client, and misbehaving on demand.
//!
//! Nobody types a password here: whoever is sent to it is the person of the moment, and is sent back at once.

mod endpoints;
mod tokens;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use tokens::Keys;
pub use tokens::{ClientKey, KEY_ID, Signature, TEAM_ID};

/// The id of its one client.
pub const CLIENT_ID: &str = "trellis-client";

/// The secret of its one client.
pub const CLIENT_SECRET: &str = "p5-canary-client-secret: with / and +";

/// Somebody who has an account there.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who it is, for good.
    pub subject: String,
    /// The address, if it may be told.
    pub email: Option<String>,
    /// Whether the address is vouched for.
    pub email_verified: bool,
    /// What the person likes to be called.
    pub username: Option<String>,
}

impl Person {
    /// Somebody with the address `{name}@example.org`, vouched for.
    pub fn new(name: &str) -> Self {
        Self {
            subject: format!("subject-of-{name}"),
            email: Some(format!("{name}@example.org")),
            email_verified: true,
            username: Some(name.to_owned()),
        }
    }
}

/// How it misbehaves at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never answers.
    Stalls,
    /// Its answer has no end.
    Floods,
    /// It answers 500.
    Breaks,
    /// It sends whoever asks elsewhere.
    Redirects,
    /// It answers with a page.
    Babbles,
}

/// What it does now.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Who is in front of it.
    pub person: Person,
    /// Claims that it writes otherwise into the ID token; `null` leaves one out.
    pub claims: Value,
    /// How it signs the ID token.
    pub signature: Signature,
    /// What it answers in place of the tokens.
    pub tokens: Option<Value>,
    /// Whether the address is told by the UserInfo endpoint only.
    pub by_user_info: bool,
    /// Members of the UserInfo answer that it writes otherwise.
    pub user_info: Value,
    /// The `iss` parameter beside the code.
    pub names: Option<String>,
    /// Members of its metadata that it writes otherwise.
    pub metadata: Value,
    /// The key that its client signs client secrets with, as Apple's clients do.
    pub client_key: Option<ClientKey>,
    /// What goes wrong, at the endpoint with this path.
    pub fault: Option<(&'static str, Fault)>,
}

/// A sign-in that waits for its code to be exchanged.
#[derive(Clone)]
struct Grant {
    person: Person,
    challenge: String,
    nonce: Option<String>,
    redirect_uri: String,
}

struct Inner {
    issuer: String,
    behaviour: Mutex<Behaviour>,
    keys: Mutex<Keys>,
    grants: Mutex<HashMap<String, Grant>>,
    /// Whom an access token speaks for.
    tokens: Mutex<HashMap<String, Person>>,
    asked: Mutex<Vec<String>>,
    /// Codes, tokens and verifiers.
    secrets: Mutex<Vec<String>>,
}

/// The provider. It ends with this value.
pub struct Provider {
    inner: Arc<Inner>,
    server: ServerHandle,
}

impl Provider {
    /// A good one, with somebody called Ada in front of it.
    pub async fn start() -> Self {
        let (started, ready) = oneshot::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let inner = Arc::new(Inner::new(listener.local_addr().unwrap()));
                let data = web::Data::from(Arc::clone(&inner));
                let app = move || App::new().app_data(data.clone()).configure(endpoints::register);
                let server =
                    HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
                started.send((inner, server.handle())).ok().unwrap();
                server.await.unwrap();
            });
        });
        let (inner, server) = ready.await.unwrap();
        Self { inner, server }
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// Changes what it does from now on.
    pub fn now(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.inner.behaviour());
    }

    /// It behaves again, with this person in front of it.
    pub fn is_good_with(&self, person: Person) {
        *self.inner.behaviour() = Behaviour::good(person);
    }

    /// It signs with a new key, and publishes that one alone.
    pub fn rotate_keys(&self) {
        self.inner.keys.lock().unwrap().rotate();
    }

    /// The paths it was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.inner.asked.lock().unwrap().clone()
    }

    /// Every code and token that it gave out, and every verifier that it was shown.
    pub fn secrets(&self) -> Vec<String> {
        self.inner.secrets.lock().unwrap().clone()
    }

    /// How often it was asked for a path.
    pub fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == path).count()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // The order is given with the call; whether it was heeded is of no interest any more.
        drop(self.server.stop(false));
    }
}

impl Behaviour {
    fn good(person: Person) -> Self {
        Self {
            person,
            claims: json!({}),
            signature: Signature::Good,
            tokens: None,
            by_user_info: false,
            user_info: json!({}),
            names: None,
            metadata: json!({}),
            client_key: None,
            fault: None,
        }
    }
}

impl Inner {
    fn new(addr: SocketAddr) -> Self {
        Self {
            issuer: format!("http://{addr}"),
            behaviour: Mutex::new(Behaviour::good(Person::new("ada"))),
            keys: Mutex::new(Keys::new()),
            grants: Mutex::default(),
            tokens: Mutex::default(),
            asked: Mutex::default(),
            secrets: Mutex::default(),
        }
    }

    /// Remembers what is between this provider and its client.
    fn keep(&self, secret: &str) {
        self.secrets.lock().unwrap().push(secret.to_owned());
    }

    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap()
    }
}

/// Members of `changes` in place of those of `value`; a `null` takes one away.
fn overwrite(value: &mut Value, changes: &Value) {
    for (name, change) in changes.as_object().into_iter().flatten() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = change.clone();
        }
    }
}
