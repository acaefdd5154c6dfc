//! People: they come, confirm and go as the api lets them, without a password to hash.

use domain::accounts::{self, Account, Email, NewAccount, RegisterError, Registered, Username};
use domain::audit::Trace;
use domain::referrals::{Claim, ReferralCode};
use futures_util::StreamExt as _;
use futures_util::stream;
use uuid::Uuid;

use super::Desk;

/// Somebody who was brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Friend {
    pub(crate) id: Uuid,
    pub(crate) referral: Uuid,
}

/// Where somebody registers: by default from nowhere that tells anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// A network with a name of its own.
    pub(crate) network: Option<&'static str>,
    /// Whose browser it is.
    pub(crate) browser_of: Vec<Uuid>,
}

impl Place {
    /// In a network.
    pub(crate) fn network(name: &'static str) -> Self {
        Self { network: Some(name), ..Self::default() }
    }

    /// In a browser.
    pub(crate) fn browser_of(user: Uuid) -> Self {
        Self { browser_of: vec![user], ..Self::default() }
    }

    pub(crate) fn trace(&self) -> Trace {
        let ip_hash = self.network.map(|name| domain::token::Digest::of(name.as_bytes()).as_slice().to_vec());
        Trace { ip_hash, is_public: true, ..Trace::default() }
    }
}

impl Desk {
    /// Registers somebody, as the api does once the password is hashed.
    pub(crate) async fn register(
        &self,
        username: &str,
        email: &str,
        claim: Option<Claim>,
    ) -> Result<Registered, RegisterError> {
        self.register_at(&Place::default(), username, email, claim).await
    }

    /// Registers somebody somewhere.
    pub(crate) async fn register_at(
        &self,
        place: &Place,
        username: &str,
        email: &str,
        claim: Option<Claim>,
    ) -> Result<Registered, RegisterError> {
        let new = NewAccount {
            email: Email::parse(email).unwrap(),
            username: Username::parse(username).unwrap(),
            password_hash: Some("$argon2id$of-no-password".to_owned()),
            claim,
            known_as: place.browser_of.clone(),
            confirmation: self.config.common.lifetimes.confirmation,
            trace: place.trace(),
        };
        let common = &self.config.common;
        accounts::register(&self.pool, self.clock.now(), &common.keys, common.referrals, new).await
    }

    /// Somebody whom nobody brought.
    pub(crate) async fn person(&self, username: &str) -> Account {
        self.register(username, &format!("{username}@example.org"), None).await.unwrap().account
    }

    /// Somebody whom `referrer` brought.
    pub(crate) async fn friend(&self, username: &str, referrer: &Account) -> Friend {
        self.friend_at(&Place::default(), username, &format!("{username}@example.org"), referrer).await
    }

    /// Somebody whom `referrer` brought, from somewhere.
    pub(crate) async fn friend_at(
        &self,
        place: &Place,
        username: &str,
        email: &str,
        referrer: &Account,
    ) -> Friend {
        let claim = Claim::Typed(ReferralCode::parse(&referrer.referral_code).unwrap());
        let registered = self.register_at(place, username, email, Some(claim)).await.unwrap();
        let id = registered.account.id;
        let referral = self.id(&format!("SELECT id FROM referrals WHERE referred_user_id = '{id}'")).await;
        Friend { id, referral }
    }

    /// `count` people whom `referrer` brought.
    pub(crate) async fn friends(&self, name: &str, count: usize, referrer: &Account) -> Vec<Friend> {
        let coming =
            (0..count).map(|number| async move { self.friend(&format!("{name}{number}"), referrer).await });
        // As many at once as there are connections: the machine sets the pace.
        stream::iter(coming).buffered(self.pool.status().max_size).collect().await
    }

    /// The token of somebody's newest confirmation mail.
    pub(crate) async fn token_of(&self, user: Uuid) -> String {
        let newest = format!(
            "SELECT id FROM email_verifications WHERE user_id = '{user}' ORDER BY created_at DESC, id DESC LIMIT 1"
        );
        let id = self.id(&newest).await;
        let (now, key) = (self.clock.now(), &self.config.common.keys.token);
        let mail = accounts::verification_mail(&self.pool, now, key, id).await.unwrap().unwrap();
        mail.token.expose()
    }

    /// Confirms somebody's address, as the api does.
    pub(crate) async fn confirm(&self, user: Uuid) {
        let token = self.token_of(user).await;
        let policy = self.config.common.referrals;
        accounts::verify_email(&self.pool, self.clock.now(), policy, &token, None, &Trace::default())
            .await
            .unwrap();
    }

    /// Deletes somebody's account, as the api does once the password is checked.
    pub(crate) async fn delete(&self, user: Uuid) {
        let checked = accounts::own_credentials(&self.pool, user).await.unwrap().unwrap();
        accounts::delete(&self.pool, self.clock.now(), &self.config.common.keys, &checked, &Trace::default())
            .await
            .unwrap();
    }
}
