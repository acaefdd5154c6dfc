//! The kinds of job. Kinds are forever: add, never rename. Payloads hold ids, and words of closed sets.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::accounts::Removed;
use crate::notices::SecurityNotice;
use crate::queue::QueueName;
use crate::webhooks::Event;

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "payload", deny_unknown_fields)]
pub enum Job {
    /// Decides a pending referral if it is due, and its rewards.
    #[serde(rename = "referral.settle")]
    SettleReferral {
        /// The referral.
        referral_id: Uuid,
    },
    /// Mails the link that confirms an e-mail address.
    #[serde(rename = "mail.verification")]
    SendVerification {
        /// The row of `email_verifications`.
        verification_id: Uuid,
    },
    /// Mails whoever registered with `REGISTRATION=verified` the link that makes the account, or whoever has the address
    /// already that somebody tried to.
    #[serde(rename = "mail.registration")]
    SendRegistration {
        /// The row of `pending_registrations`.
        registration_id: Uuid,
    },
    /// Mails a new address the link that confirms it, or whoever has it already that somebody tried to.
    #[serde(rename = "mail.email_change")]
    SendEmailChange {
        /// The row of `email_changes`.
        change_id: Uuid,
    },
    /// Mails the old address "a change of your address was asked for".
    #[serde(rename = "mail.email_change_requested")]
    SendEmailChangeRequested {
        /// The row of `email_changes`.
        change_id: Uuid,
    },
    /// Mails the old address "your address was changed".
    #[serde(rename = "mail.email_changed")]
    SendEmailChanged {
        /// The row of `email_changes`.
        change_id: Uuid,
    },
    /// Mails the link that sets a new password, if there is such an account.
    #[serde(rename = "mail.password_reset")]
    SendPasswordReset {
        /// The row of `password_resets`.
        reset_id: Uuid,
    },
    /// Mails "your password was changed".
    #[serde(rename = "mail.password_changed")]
    SendPasswordChanged {
        /// Whose.
        user_id: Uuid,
    },
    /// Mails "what had been added to your account before you confirmed the address was removed".
    #[serde(rename = "mail.trust_reset")]
    SendTrustReset {
        /// Whose.
        user_id: Uuid,
        /// What was removed.
        removed: Vec<Removed>,
    },
    /// Mails "your username was changed".
    #[serde(rename = "mail.username_changed")]
    SendUsernameChanged {
        /// The row of `username_changes`.
        rename_id: Uuid,
    },
    /// Mails "a sign-in was ended: its refresh token was used twice".
    #[serde(rename = "mail.refresh_reused")]
    SendRefreshReused {
        /// The session that was ended.
        session_id: Uuid,
    },
    /// Mails "a second factor was added".
    #[serde(rename = "mail.factor_added")]
    SendFactorAdded {
        /// Whose.
        user_id: Uuid,
    },
    /// Mails "the second factor was taken away".
    #[serde(rename = "mail.factor_removed")]
    SendFactorRemoved {
        /// Whose.
        user_id: Uuid,
    },
    /// Mails "a recovery code was used".
    #[serde(rename = "mail.recovery_code_used")]
    SendRecoveryCodeUsed {
        /// Whose.
        user_id: Uuid,
    },
    /// Mails "there is another way into your account".
    #[serde(rename = "mail.identity_linked")]
    SendIdentityLinked {
        /// The row of `identities`.
        identity_id: Uuid,
    },
    /// Mails a notice of a security event.
    #[serde(rename = "mail.security_notice")]
    SendSecurityNotice {
        /// What happened.
        notice: SecurityNotice,
        /// Whose account.
        user_id: Uuid,
        /// The session that acted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_id: Option<Uuid>,
        /// The session, identity or row of `deletion_notices` that it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject_id: Option<Uuid>,
    },
    /// Mails "your account is blocked", with the reason.
    #[serde(rename = "mail.account_blocked")]
    SendAccountBlocked {
        /// Whose.
        user_id: Uuid,
    },
    /// Mails "your account is no longer blocked".
    #[serde(rename = "mail.account_unblocked")]
    SendAccountUnblocked {
        /// Whose.
        user_id: Uuid,
    },
    /// Something happened that other systems may want to know: sees to it that each that listens is told.
    #[serde(rename = "event.announce")]
    Announce {
        /// What.
        event: Event,
        /// The referral, account or redemption that it is about.
        subject_id: Uuid,
        /// Why, in the words that its holder may read; of referrals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Tells an endpoint of an event.
    #[serde(rename = "webhook.deliver")]
    DeliverWebhook {
        /// The row of `webhook_deliveries`.
        delivery_id: Uuid,
    },
    /// Expires the referrals that waited too long.
    #[serde(rename = "maintenance.expire_referrals")]
    ExpireReferrals {},
    /// Deletes accounts whose address nobody confirmed.
    #[serde(rename = "maintenance.expire_accounts")]
    ExpireAccounts {},
    /// Looks again at referrals that stand still.
    #[serde(rename = "maintenance.recheck_referrals")]
    RecheckReferrals {},
    /// Removes what is no longer needed: used tokens, ended sessions, finished jobs.
    #[serde(rename = "maintenance.purge")]
    Purge {},
}

/// How long a job may take, and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attempts in all.
    pub attempts: u16,
    /// An attempt that takes longer is cancelled.
    pub time: Duration,
    /// The wait after the first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest wait.
    pub longest_backoff: Duration,
}

/// The version of the payloads this release writes. A payload that changes its meaning gets a new one.
pub(super) const VERSION: i16 = 1;

impl Job {
    /// The queue it goes through: mail by itself, so that a dead mail server delays no reward.
    pub fn queue(&self) -> QueueName {
        match self {
            Self::SettleReferral { .. } => QueueName::Rewards,
            Self::SendVerification { .. }
            | Self::SendRegistration { .. }
            | Self::SendEmailChange { .. }
            | Self::SendEmailChangeRequested { .. }
            | Self::SendEmailChanged { .. }
            | Self::SendPasswordReset { .. }
            | Self::SendPasswordChanged { .. }
            | Self::SendTrustReset { .. }
            | Self::SendUsernameChanged { .. }
            | Self::SendRefreshReused { .. }
            | Self::SendFactorAdded { .. }
            | Self::SendFactorRemoved { .. }
            | Self::SendRecoveryCodeUsed { .. }
            | Self::SendAccountBlocked { .. }
            | Self::SendAccountUnblocked { .. }
            | Self::SendIdentityLinked { .. }
            | Self::SendSecurityNotice { .. } => QueueName::Mail,
            Self::Announce { .. } | Self::DeliverWebhook { .. } => QueueName::Webhooks,
            Self::ExpireReferrals {}
            | Self::ExpireAccounts {}
            | Self::RecheckReferrals {}
            | Self::Purge {} => QueueName::Maintenance,
        }
    }

    /// The word for it, in the database, in logs and in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SettleReferral { .. } => "referral.settle",
            Self::SendVerification { .. } => "mail.verification",
            Self::SendRegistration { .. } => "mail.registration",
            Self::SendEmailChange { .. } => "mail.email_change",
            Self::SendEmailChangeRequested { .. } => "mail.email_change_requested",
            Self::SendEmailChanged { .. } => "mail.email_changed",
            Self::SendPasswordReset { .. } => "mail.password_reset",
            Self::SendPasswordChanged { .. } => "mail.password_changed",
            Self::SendTrustReset { .. } => "mail.trust_reset",
            Self::SendUsernameChanged { .. } => "mail.username_changed",
            Self::SendRefreshReused { .. } => "mail.refresh_reused",
            Self::SendFactorAdded { .. } => "mail.factor_added",
            Self::SendFactorRemoved { .. } => "mail.factor_removed",
            Self::SendRecoveryCodeUsed { .. } => "mail.recovery_code_used",
            Self::SendIdentityLinked { .. } => "mail.identity_linked",
            Self::SendSecurityNotice { .. } => "mail.security_notice",
            Self::SendAccountBlocked { .. } => "mail.account_blocked",
            Self::SendAccountUnblocked { .. } => "mail.account_unblocked",
            Self::Announce { .. } => "event.announce",
            Self::DeliverWebhook { .. } => "webhook.deliver",
            Self::ExpireReferrals {} => "maintenance.expire_referrals",
            Self::ExpireAccounts {} => "maintenance.expire_accounts",
            Self::RecheckReferrals {} => "maintenance.recheck_referrals",
            Self::Purge {} => "maintenance.purge",
        }
    }

    /// Whether it mails a link that ends: such a mail is of use only while its link is.
    pub fn carries_link(&self) -> bool {
        matches!(
            self,
            Self::SendVerification { .. }
                | Self::SendRegistration { .. }
                | Self::SendEmailChange { .. }
                | Self::SendPasswordReset { .. }
        )
    }

    /// Its limits. Mail servers and receivers of webhooks may be away for a day; a database error is either short or for good.
    pub fn limits(&self) -> Limits {
        match self.queue() {
            QueueName::Mail | QueueName::Webhooks => Limits {
                // Links are mailed in shorter intervals, for as long as they live by default (48 h).
                attempts: if self.carries_link() { 100 } else { 30 },
                time: Duration::from_secs(25),
                backoff: Duration::from_secs(5),
                longest_backoff: Duration::from_secs(3_600),
            },
            QueueName::Rewards | QueueName::Maintenance => Limits {
                attempts: 5,
                time: Duration::from_secs(20),
                backoff: Duration::from_millis(200),
                longest_backoff: Duration::from_secs(60),
            },
        }
    }

    /// Its payload, as stored.
    pub(super) fn payload(&self) -> Result<serde_json::Value, serde_json::Error> {
        Ok(serde_json::to_value(self)?.get("payload").cloned().unwrap_or_default())
    }

    /// Reads a stored job; `None` when this release does not know its kind or version.
    pub(super) fn decode(kind: &str, version: i16, payload: &serde_json::Value) -> Option<Self> {
        if version != VERSION {
            return None;
        }
        serde_json::from_value(serde_json::json!({ "kind": kind, "payload": payload })).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::LEASE;

    #[test]
    fn jobs_survive_storage_and_strangers_are_told_apart() {
        let job = Job::SettleReferral { referral_id: Uuid::now_v7() };
        let (kind, payload) = (job.kind(), job.payload().unwrap());
        assert_eq!(Job::decode(kind, VERSION, &payload), Some(job));
        assert_eq!(Job::decode(kind, VERSION + 1, &payload), None);
        assert_eq!(Job::decode("referral.frobnicate", VERSION, &payload), None);
        let purge = Job::Purge {};
        assert_eq!(Job::decode(purge.kind(), VERSION, &purge.payload().unwrap()), Some(purge));
    }

    #[test]
    fn every_job_ends_before_its_lease() {
        let id = Uuid::now_v7();
        for job in [
            Job::SettleReferral { referral_id: id },
            Job::SendVerification { verification_id: id },
            Job::Purge {},
        ] {
            assert!(job.limits().time < LEASE);
        }
    }
}
