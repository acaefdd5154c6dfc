//! Who may not be brought, as pure functions over recorded facts.

/// What is known of the two sides when the account is made.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Facts {
    /// Both addresses reach one mailbox.
    pub same_mailbox: bool,
    /// The browser has a session of the referrer, or had one.
    pub same_browser: bool,
    /// The address belonged to an account that was deleted.
    pub deleted_before: bool,
    /// The address was another account's, until that changed it.
    pub had_by_another: bool,
}

/// Why a referral is refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The referrer's own mailbox under another spelling.
    SameMailbox,
    /// The referrer's own browser.
    SameBrowser,
    /// Somebody who comes back never counts as new.
    DeletedBefore,
    /// Nor does somebody who has another account.
    HadByAnother,
}

/// The first thing that speaks against a referral, if any. A cycle needs no rule: the referrer has an account before the
/// referred person does, and referrals are never added later.
pub fn judge(facts: Facts) -> Option<Refusal> {
    if facts.same_mailbox {
        Some(Refusal::SameMailbox)
    } else if facts.same_browser {
        Some(Refusal::SameBrowser)
    } else if facts.deleted_before {
        Some(Refusal::DeletedBefore)
    } else if facts.had_by_another {
        Some(Refusal::HadByAnother)
    } else {
        None
    }
}
