//! Many people at once: they come and confirm without the api, which would hash a password for each.

use chrono::TimeDelta;
use domain::accounts::{self, Email, NewAccount, Username};
use domain::config::{Common, Settings};
use domain::db::Pool;
use domain::referrals::{Claim, ReferralCode};
use futures_util::future::join_all;
use testkit::app::TestApp;
use uuid::Uuid;

pub(crate) struct Crowd<'a> {
    app: &'a TestApp,
    pool: Pool,
    common: Common,
}

impl<'a> Crowd<'a> {
    /// People who come to this system.
    pub(crate) fn at(app: &'a TestApp) -> Self {
        let mut settings: Settings = app.settings.settings();
        let common = Common::read(&mut settings).unwrap();
        Self { app, pool: app.database.pool(6), common }
    }

    /// Registers `{name}0@example.org` and so on with a code, in this order; returns who they are.
    pub(crate) async fn bring(&self, name: &str, count: usize, code: &str) -> Vec<Uuid> {
        let mut people = Vec::with_capacity(count);
        for number in 0..count {
            let username = format!("{name}{number}");
            let new = NewAccount {
                email: Email::parse(&format!("{username}@example.org")).unwrap(),
                username: Username::parse(&username).unwrap(),
                password_hash: Some("$argon2id$of-no-password".to_owned()),
                claim: Some(Claim::Typed(ReferralCode::parse(code).unwrap())),
                known_as: Vec::new(),
                confirmation: TimeDelta::hours(48),
                trace: domain::audit::Trace::default(),
            };
            let (now, Common { keys, referrals, .. }) = (self.app.clock.now(), &self.common);
            let registered = accounts::register(&self.pool, now, keys, *referrals, new).await.unwrap();
            people.push(registered.account.id);
        }
        people
    }

    /// Confirms the addresses of people, all at once.
    pub(crate) async fn confirm(&self, people: &[Uuid]) {
        join_all(people.iter().map(|person| self.confirm_one(*person))).await;
    }

    async fn confirm_one(&self, person: Uuid) {
        let query = format!("SELECT id::text FROM email_verifications WHERE user_id = '{person}'");
        let id: String = self.app.database.value(&query).await;
        let (now, key) = (self.app.clock.now(), &self.common.keys.token);
        let mail =
            accounts::verification_mail(&self.pool, now, key, id.parse().unwrap()).await.unwrap().unwrap();
        accounts::verify_email(
            &self.pool,
            now,
            self.common.referrals,
            &mail.token.expose(),
            None,
            &domain::audit::Trace::default(),
        )
        .await
        .unwrap();
    }
}
