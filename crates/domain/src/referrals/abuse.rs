//! What speaks against a referral: pure functions from recorded facts to a decision that explains itself.
//!
//! Two things are told apart. A [`Refusal`] is certain (oneself, somebody who comes back) and stands by itself. A
//! [`Signal`] is a coincidence that abuse has in common with ordinary life; signals carry points, and the sum is held
//! against the limits of the configuration. Of one family only the strongest counts: thirty people in one lecture hall
//! are one coincidence, however many rules notice it.

use serde::{Deserialize, Serialize};

/// What is known of the two sides when the account is made.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Identity {
    /// Both addresses reach one mailbox.
    pub same_mailbox: bool,
    /// The browser has a session of the referrer, or had one.
    pub same_browser: bool,
    /// The address belonged to an account that was deleted.
    pub deleted_before: bool,
    /// The address was another account's, until that changed it.
    pub had_by_another: bool,
    /// The mailbox of somebody who brought the referrer, directly or not.
    pub ring_mailbox: bool,
    /// The browser of somebody who brought the referrer, directly or not.
    pub ring_browser: bool,
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
    /// A ring: the mailbox of somebody further up.
    RingMailbox,
    /// A ring: the browser of somebody further up.
    RingBrowser,
    /// A ring: the referrer was brought, directly or not, by the referred person.
    Cycle,
}

impl Refusal {
    /// The reason, as the referrer reads it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameMailbox => "self_referral_same_email",
            Self::SameBrowser => "self_referral_same_browser",
            Self::DeletedBefore => "email_of_deleted_account",
            Self::HadByAnother => "email_used_before",
            Self::RingMailbox => "ring_same_email",
            Self::RingBrowser => "ring_same_browser",
            Self::Cycle => "ring_cycle",
        }
    }
}

/// The first thing that is certain against a referral, if any.
pub fn refuse(identity: Identity) -> Option<Refusal> {
    [
        (identity.same_mailbox, Refusal::SameMailbox),
        (identity.same_browser, Refusal::SameBrowser),
        (identity.deleted_before, Refusal::DeletedBefore),
        (identity.had_by_another, Refusal::HadByAnother),
        (identity.ring_mailbox, Refusal::RingMailbox),
        (identity.ring_browser, Refusal::RingBrowser),
    ]
    .into_iter()
    .find_map(|(holds, refusal)| holds.then_some(refusal))
}

/// Whose browser an account was made in, as far as its device cookie or session tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Browser {
    /// Nobody's.
    #[default]
    Unknown,
    /// Somebody's who has nothing to do with the referrer.
    Another,
    /// Somebody's whom the referrer brought too.
    Sibling,
}

/// The facts that signals are read off. Numbers and words of ours: nothing in here tells who it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The referrer was seen in the network of the registration, within 30 days.
    pub same_network: bool,
    /// Somebody further up was.
    pub ring_network: bool,
    /// Referrals from this network in the hour up to this one, itself included.
    pub network_hour: i64,
    /// Referrals by this code in the hour up to this one, itself included.
    pub code_hour: i64,
    /// The address is of a domain that gives addresses away for minutes.
    pub disposable: bool,
    /// Whose browser it was.
    pub browser: Browser,
    /// How many the referrer brought a week ago or earlier, of the last twenty.
    pub friends: i64,
    /// How many of those never signed in.
    pub idle_friends: i64,
}

/// A coincidence that abuse has in common with ordinary life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The network of the referrer.
    SameNetwork,
    /// The network of somebody further up.
    RingNetwork,
    /// Too many from one network within an hour.
    NetworkBurst,
    /// Too many by one code within an hour.
    CodeBurst,
    /// An address that is given away for minutes.
    DisposableAddress,
    /// The browser of another account that the referrer brought.
    SiblingBrowser,
    /// The browser of another account.
    KnownBrowser,
    /// Nearly all whom the referrer brought never signed in.
    IdleFriends,
}

/// What signals have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Network,
    Code,
    Address,
    Browser,
    Conduct,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SameNetwork,
        Self::RingNetwork,
        Self::NetworkBurst,
        Self::CodeBurst,
        Self::DisposableAddress,
        Self::SiblingBrowser,
        Self::KnownBrowser,
        Self::IdleFriends,
    ];

    /// How much it weighs.
    pub const fn points(self) -> i64 {
        match self {
            Self::SameNetwork | Self::NetworkBurst => 60,
            Self::CodeBurst | Self::DisposableAddress => 50,
            Self::RingNetwork | Self::SiblingBrowser => 40,
            Self::IdleFriends => 30,
            Self::KnownBrowser => 20,
        }
    }

    const fn family(self) -> Family {
        match self {
            Self::SameNetwork | Self::RingNetwork | Self::NetworkBurst => Family::Network,
            Self::CodeBurst => Family::Code,
            Self::DisposableAddress => Family::Address,
            Self::SiblingBrowser | Self::KnownBrowser => Family::Browser,
            Self::IdleFriends => Family::Conduct,
        }
    }

    /// Whether the facts show it.
    fn shows(self, facts: &Facts, limits: Limits) -> bool {
        match self {
            Self::SameNetwork => facts.same_network,
            Self::RingNetwork => facts.ring_network,
            Self::NetworkBurst => facts.network_hour > limits.network_hour,
            Self::CodeBurst => facts.code_hour > limits.code_hour,
            Self::DisposableAddress => facts.disposable,
            Self::SiblingBrowser => facts.browser == Browser::Sibling,
            Self::KnownBrowser => facts.browser == Browser::Another,
            // Five are no pattern yet if one of them acts; of ten, one may.
            Self::IdleFriends => facts.friends >= 5 && facts.idle_friends * 10 > facts.friends * 8,
        }
    }
}

/// From where on a score matters, and from where on a number is too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `REFERRAL_REVIEW_SCORE`: from here on a manager looks.
    pub review: i64,
    /// `REFERRAL_DENY_SCORE`: from here on it is refused.
    pub deny: i64,
    /// `REFERRAL_NETWORK_PER_HOUR`: so many referrals from one network are nothing special.
    pub network_hour: i64,
    /// `REFERRAL_CODE_PER_HOUR`: so many referrals by one code are nothing special.
    pub code_hour: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { review: 50, deny: 150, network_hour: 3, code_hour: 300 }
    }
}

/// What follows from a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It goes its way.
    Allow,
    /// A manager looks at it.
    Review,
    /// It is refused.
    Deny,
}

/// A signal with what it added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Weighed {
    /// The signal.
    pub signal: Signal,
    /// What it weighs.
    pub points: i64,
    /// Whether it is in the score: the strongest of its family.
    pub counted: bool,
}

/// A decision with all that led to it, as it is stored and shown to managers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assessment {
    /// What follows.
    pub decision: Decision,
    /// What is certain against it.
    #[serde(serialize_with = "by_name", skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The sum of what was counted.
    pub score: i64,
    /// Every signal that showed.
    pub signals: Vec<Weighed>,
    /// What they were read off.
    pub facts: Facts,
    /// What the score was held against.
    pub limits: Limits,
}

#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn by_name<S: serde::Serializer>(refusal: &Option<Refusal>, serializer: S) -> Result<S::Ok, S::Error> {
    refusal.map(Refusal::as_str).serialize(serializer)
}

/// Weighs facts. The same facts and limits give the same assessment, always.
pub fn assess(facts: Facts, limits: Limits, refusal: Option<Refusal>) -> Assessment {
    let shown: Vec<Signal> = Signal::ALL.into_iter().filter(|signal| signal.shows(&facts, limits)).collect();
    let mut signals: Vec<Weighed> = Vec::with_capacity(shown.len());
    for signal in &shown {
        let rivals = shown.iter().filter(|other| other.family() == signal.family() && *other != signal);
        let already = signals.iter().any(|known| known.counted && known.signal.family() == signal.family());
        let strongest = rivals.map(|rival| rival.points()).max().unwrap_or(0) <= signal.points();
        signals.push(Weighed { signal: *signal, points: signal.points(), counted: strongest && !already });
    }
    let score = signals.iter().filter(|weighed| weighed.counted).map(|weighed| weighed.points).sum();
    let decision = if refusal.is_some() || score >= limits.deny {
        Decision::Deny
    } else if score >= limits.review {
        Decision::Review
    } else {
        Decision::Allow
    };
    Assessment { decision, refusal, score, signals, facts, limits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(facts: Facts) -> (i64, Decision) {
        let assessment = assess(facts, Limits::default(), None);
        (assessment.score, assessment.decision)
    }

    #[test]
    fn f5_each_signal_weighs_what_it_says() {
        let none = Facts::default();
        for (facts, expected) in [
            (none, (0, Decision::Allow)),
            (Facts { same_network: true, ..none }, (60, Decision::Review)),
            (Facts { ring_network: true, ..none }, (40, Decision::Allow)),
            (Facts { network_hour: 3, ..none }, (0, Decision::Allow)),
            (Facts { network_hour: 4, ..none }, (60, Decision::Review)),
            (Facts { code_hour: 300, ..none }, (0, Decision::Allow)),
            (Facts { code_hour: 301, ..none }, (50, Decision::Review)),
            (Facts { disposable: true, ..none }, (50, Decision::Review)),
            (Facts { browser: Browser::Another, ..none }, (20, Decision::Allow)),
            (Facts { browser: Browser::Sibling, ..none }, (40, Decision::Allow)),
            (Facts { friends: 4, idle_friends: 4, ..none }, (0, Decision::Allow)),
            (Facts { friends: 5, idle_friends: 4, ..none }, (0, Decision::Allow)),
            (Facts { friends: 5, idle_friends: 5, ..none }, (30, Decision::Allow)),
            (Facts { friends: 20, idle_friends: 17, ..none }, (30, Decision::Allow)),
        ] {
            assert_eq!(decided(facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn f5_one_coincidence_counts_once_and_three_are_too_many() {
        let hall = Facts { same_network: true, ring_network: true, network_hour: 30, ..Facts::default() };
        let assessment = assess(hall, Limits::default(), None);
        assert_eq!((assessment.score, assessment.decision), (60, Decision::Review));
        assert_eq!(assessment.signals.len(), 3, "all are shown");
        assert_eq!(assessment.signals.iter().filter(|weighed| weighed.counted).count(), 1);
        let two = Facts { disposable: true, ..hall };
        assert_eq!(decided(two), (110, Decision::Review));
        assert_eq!(decided(Facts { browser: Browser::Sibling, ..two }), (150, Decision::Deny));
    }

    #[test]
    fn f5_limits_decide() {
        let facts = Facts { same_network: true, network_hour: 9, ..Facts::default() };
        for (review, deny, expected) in
            [(61, 150, Decision::Allow), (60, 61, Decision::Review), (10, 60, Decision::Deny)]
        {
            let limits = Limits { review, deny, ..Limits::default() };
            assert_eq!(assess(facts, limits, None).decision, expected);
        }
    }

    #[test]
    fn f3_what_is_certain_needs_no_points() {
        let nothing = Identity {
            same_mailbox: false,
            same_browser: false,
            deleted_before: false,
            had_by_another: false,
            ring_mailbox: false,
            ring_browser: false,
        };
        assert_eq!(refuse(nothing), None);
        assert_eq!(refuse(Identity { ring_browser: true, ..nothing }), Some(Refusal::RingBrowser));
        let both = Identity { same_mailbox: true, ring_mailbox: true, ..nothing };
        assert_eq!(refuse(both), Some(Refusal::SameMailbox), "the nearest reason is told");
        let assessment = assess(Facts::default(), Limits::default(), Some(Refusal::Cycle));
        assert_eq!(assessment.decision, Decision::Deny);
        assert_eq!(serde_json::to_value(assessment).unwrap()["refusal"], "ring_cycle");
    }

    #[test]
    fn facts_of_an_older_release_are_read() {
        let facts: Facts = serde_json::from_str(r#"{"same_network": true, "unknown": 1}"#).unwrap();
        assert_eq!(facts, Facts { same_network: true, ..Facts::default() });
    }
}
