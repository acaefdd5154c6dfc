//! The mails. Addresses are read and tokens minted here, at the last moment: no job carries them.

use chrono::{DateTime, TimeDelta, Utc};
use domain::accounts::{AddressMail, BlockNotice, Notice, Removed};
use domain::notices::{self, SecurityNotice};
use domain::outbox::{self, Lease};
use domain::{accounts, factors, identities, recovery, sessions};
use uuid::Uuid;

use super::JobError;
use crate::context::Context;
use crate::mailer::{LinkLife, Mail, Message, SendError};

/// How long an address that bounced is left alone by resets: the mailbox may be back after, and a mail that arrives says so.
const BOUNCE_REST: TimeDelta = TimeDelta::hours(24);

pub(super) async fn verification(context: &Context, lease: &Lease, id: Uuid) -> Result<(), JobError> {
    let now = context.clock.now();
    let Some(mail) = accounts::verification_mail(&context.pool, now, &context.keys.token, id).await? else {
        return done(context, lease).await;
    };
    let link = context.public_url.join(&format!("/verify-email?token={}", mail.token.expose()));
    let life = LinkLife { ends_at: mail.expires_at, written_at: now };
    let kind = Mail::Verification { username: mail.username, link, life };
    send_link(context, lease, mail.address.as_str(), kind, mail.expires_at).await
}

pub(super) async fn registration(context: &Context, lease: &Lease, id: Uuid) -> Result<(), JobError> {
    let now = context.clock.now();
    let mail =
        accounts::registration_mail(&context.pool, now, &context.keys, context.mail_limits.given_address, id)
            .await?;
    let page = "/register/confirm";
    address(context, lease, mail, page, |username, link, life| Mail::Registration { username, link, life })
        .await
}

pub(super) async fn email_change(context: &Context, lease: &Lease, id: Uuid) -> Result<(), JobError> {
    let now = context.clock.now();
    let mail =
        accounts::email_change_mail(&context.pool, now, &context.keys, context.mail_limits.given_address, id)
            .await?;
    let page = "/verify-email";
    address(context, lease, mail, page, |username, link, life| Mail::EmailChange { username, link, life })
        .await
}

/// Writes to an address that somebody gave: a link to confirm it, or that it has an account.
async fn address(
    context: &Context,
    lease: &Lease,
    mail: Option<AddressMail>,
    page: &str,
    confirm: impl FnOnce(String, String, LinkLife) -> Mail,
) -> Result<(), JobError> {
    match mail {
        None => done(context, lease).await,
        Some(AddressMail::Confirm { address, username, token, expires_at }) => {
            let link = context.public_url.join(&format!("{page}?token={}", token.expose()));
            let life = LinkLife { ends_at: expires_at, written_at: context.clock.now() };
            send_link(context, lease, address.as_str(), confirm(username, link, life), expires_at).await
        }
        Some(AddressMail::Taken { address, username }) => {
            let link = context.public_url.join("/login");
            send(context, lease, address.as_str(), Mail::AddressTaken { username, link }).await
        }
        Some(AddressMail::Blocked(notice)) => blocked(context, lease, notice).await,
    }
}

pub(super) async fn email_change_requested(
    context: &Context,
    lease: &Lease,
    id: Uuid,
) -> Result<(), JobError> {
    let Some(Notice { old_email, username, requested_at: at, .. }) =
        accounts::email_change_notice(&context.pool, id).await?
    else {
        return done(context, lease).await;
    };
    send(context, lease, &old_email, Mail::EmailChangeRequested { username, at }).await
}

pub(super) async fn email_changed(context: &Context, lease: &Lease, id: Uuid) -> Result<(), JobError> {
    match accounts::email_change_notice(&context.pool, id).await? {
        Some(Notice { old_email, username, applied_at: Some(at), .. }) => {
            send(context, lease, &old_email, Mail::EmailChanged { username, at }).await
        }
        _ => done(context, lease).await,
    }
}

pub(super) async fn password_reset(context: &Context, lease: &Lease, id: Uuid) -> Result<(), JobError> {
    let now = context.clock.now();
    if let Some(notice) = recovery::blocked_mail(&context.pool, now, context.mail_limits.reset, id).await? {
        return blocked(context, lease, notice).await;
    }
    let Some(mail) =
        recovery::reset_mail(&context.pool, now, &context.keys.token, context.mail_limits.reset, id).await?
    else {
        return done(context, lease).await;
    };
    let link = context.public_url.join(&format!("/reset-password?token={}", mail.token.expose()));
    let bounced_at = accounts::bounced_at(&context.pool, mail.address.as_str()).await?;
    if bounced_at.is_some_and(|at| now - at < BOUNCE_REST) {
        tracing::info!("no reset mail: the address bounced within the last day");
        return done(context, lease).await;
    }
    let life = LinkLife { ends_at: mail.expires_at, written_at: now };
    let kind = Mail::PasswordReset { username: mail.username, link, life };
    send_link(context, lease, mail.address.as_str(), kind, mail.expires_at).await
}

pub(super) async fn password_changed(
    context: &Context,
    lease: &Lease,
    user_id: Uuid,
) -> Result<(), JobError> {
    let Some(account) = accounts::find(&context.pool, user_id).await? else {
        return done(context, lease).await;
    };
    let at = account.password_changed_at.unwrap_or_else(|| context.clock.now());
    send(context, lease, &account.email, Mail::PasswordChanged { username: account.username, at }).await
}

pub(super) async fn trust_reset(
    context: &Context,
    lease: &Lease,
    user_id: Uuid,
    removed: &[Removed],
) -> Result<(), JobError> {
    let removed = Removed::list(removed);
    notice(context, lease, user_id, |username, at| Mail::TrustReset { username, at, removed }).await
}

pub(super) async fn username_changed(context: &Context, lease: &Lease, id: Uuid) -> Result<(), JobError> {
    let Some(mail) = accounts::rename_mail(&context.pool, id).await? else {
        return done(context, lease).await;
    };
    let kind = Mail::UsernameChanged { username: mail.new_username, former: mail.old_username, at: mail.at };
    send(context, lease, &mail.address, kind).await
}

pub(super) async fn refresh_reused(
    context: &Context,
    lease: &Lease,
    session_id: Uuid,
) -> Result<(), JobError> {
    let Some((user_id, at)) = sessions::ended(&context.pool, session_id).await? else {
        return done(context, lease).await;
    };
    let Some(account) = accounts::find(&context.pool, user_id).await? else {
        return done(context, lease).await;
    };
    send(context, lease, &account.email, Mail::SessionReuse { username: account.username, at }).await
}

pub(super) async fn identity_linked(context: &Context, lease: &Lease, id: Uuid) -> Result<(), JobError> {
    let Some(linked) = identities::linked_mail(&context.pool, id).await? else {
        return done(context, lease).await;
    };
    let Some(account) = accounts::find(&context.pool, linked.user_id).await? else {
        return done(context, lease).await;
    };
    let provider = identities::title(&linked.provider);
    let kind = Mail::IdentityLinked { username: account.username, provider, at: linked.at };
    send(context, lease, &account.email, kind).await
}

pub(super) async fn factor_added(context: &Context, lease: &Lease, user_id: Uuid) -> Result<(), JobError> {
    notice(context, lease, user_id, |username, at| Mail::FactorAdded { username, at }).await
}

pub(super) async fn factor_removed(context: &Context, lease: &Lease, user_id: Uuid) -> Result<(), JobError> {
    notice(context, lease, user_id, |username, at| Mail::FactorRemoved { username, at }).await
}

pub(super) async fn recovery_code_used(
    context: &Context,
    lease: &Lease,
    user_id: Uuid,
) -> Result<(), JobError> {
    let left = factors::summary(&context.pool, user_id).await?.recovery_codes_left;
    notice(context, lease, user_id, |username, at| Mail::RecoveryCodeUsed { username, at, left }).await
}

/// Of two that say the opposite, the one is sent that is still true.
pub(super) async fn account_blocked(context: &Context, lease: &Lease, user_id: Uuid) -> Result<(), JobError> {
    match accounts::block_notice(&context.pool, user_id).await? {
        Some(notice) => blocked(context, lease, notice).await,
        None => done(context, lease).await,
    }
}

pub(super) async fn account_unblocked(
    context: &Context,
    lease: &Lease,
    user_id: Uuid,
) -> Result<(), JobError> {
    if accounts::block_notice(&context.pool, user_id).await?.is_some() {
        return done(context, lease).await;
    }
    notice(context, lease, user_id, |username, at| Mail::AccountUnblocked { username, at }).await
}

/// Says that the account is blocked, why, and whom to ask.
async fn blocked(context: &Context, lease: &Lease, notice: BlockNotice) -> Result<(), JobError> {
    let BlockNotice { address, username, reason, at } = notice;
    send(context, lease, address.as_str(), Mail::AccountBlocked { username, reason, at }).await
}

/// Tells the holder of an account of something that happened when the mail was promised.
async fn notice(
    context: &Context,
    lease: &Lease,
    user_id: Uuid,
    mail: impl FnOnce(String, DateTime<Utc>) -> Mail,
) -> Result<(), JobError> {
    let Some(account) = accounts::find(&context.pool, user_id).await? else {
        return done(context, lease).await;
    };
    let at = lease.promised_at;
    send(context, lease, &account.email, mail(account.username, at)).await
}

/// There is nobody to write to any more, or nothing to say.
async fn done(context: &Context, lease: &Lease) -> Result<(), JobError> {
    Ok(outbox::complete_alone(&context.pool, lease).await?)
}

/// Tells of a security event. The notice of a deletion goes to the address that the account had.
pub(super) async fn security_notice(
    context: &Context,
    lease: &Lease,
    notice: SecurityNotice,
    user_id: Uuid,
    session_id: Option<Uuid>,
    subject_id: Option<Uuid>,
) -> Result<(), JobError> {
    let (pool, at) = (&context.pool, lease.promised_at);
    if notice == SecurityNotice::AccountDeleted {
        let Some(id) = subject_id else { return done(context, lease).await };
        let (now, keys) = (context.clock.now(), &context.keys.factor);
        let Some(to) = notices::deleted_account(pool, now, keys, id).await? else {
            return done(context, lease).await;
        };
        let kind = Mail::Notice { notice, username: to.username, at, place: to.place };
        let sent = send(context, lease, &to.email, kind).await;
        if matches!(sent, Ok(()) | Err(JobError::Bounced(_) | JobError::Fail(_))) {
            notices::forget_address(pool, id).await?;
        }
        return sent;
    }
    let place = match session_id {
        Some(id) => notices::place(pool, id).await?,
        None => None,
    };
    self::notice(context, lease, user_id, |username, at| Mail::Notice { notice, username, at, place }).await
}

/// As [`send`], for as long as the link of the mail works.
async fn send_link(
    context: &Context,
    lease: &Lease,
    to: &str,
    kind: Mail,
    ends_at: DateTime<Utc>,
) -> Result<(), JobError> {
    match send(context, lease, to, kind).await {
        Err(JobError::Retry(error)) => Err(JobError::RetryUntil(ends_at, error)),
        result => result,
    }
}

/// A mail that was sent and not completed is sent again, with the same Message-ID.
async fn send(context: &Context, lease: &Lease, to: &str, kind: Mail) -> Result<(), JobError> {
    if !context.mailer.wants(&kind) {
        return done(context, lease).await;
    }
    match context.mailer.send(Message { to, kind, message_id: lease.id }).await {
        Ok(()) => {
            accounts::record_delivery(&context.pool, to).await?;
            done(context, lease).await
        }
        Err(error @ SendError::Temporary { .. }) => {
            metrics::counter!("trellis_mail_failures_total", "class" => "temporary").increment(1);
            Err(JobError::Retry(error.to_string()))
        }
        Err(error) if error.is_bounce() => {
            metrics::counter!("trellis_mail_failures_total", "class" => "bounced").increment(1);
            accounts::record_bounce(&context.pool, context.clock.now(), to).await?;
            Err(JobError::Bounced(error.to_string()))
        }
        Err(error @ SendError::Permanent { .. }) => {
            metrics::counter!("trellis_mail_failures_total", "class" => "permanent").increment(1);
            Err(JobError::Fail(error.to_string()))
        }
    }
}
