//! How long links, sessions and tokens live.

use std::ops::RangeInclusive;

use chrono::TimeDelta;

use super::reader::{HumanDuration, Settings};

/// How long links, sessions and tokens live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// `RESET_LINK_LIFETIME`: a link that sets a new password, from the request.
    pub reset_link: TimeDelta,
    /// `CONFIRMATION_LIFETIME`: a link that confirms an address, and a name kept for whoever has that link.
    pub confirmation: TimeDelta,
    /// `SESSION_LIFETIME`: a session, from signing in.
    pub session: TimeDelta,
    /// `SESSION_IDLE`: a session that is not used.
    pub session_idle: TimeDelta,
    /// `ACCESS_TOKEN_LIFETIME`
    pub access_token: TimeDelta,
    /// `REFRESH_GRACE`: how long a refresh token may be used again after its child was used.
    pub refresh_grace: TimeDelta,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            reset_link: TimeDelta::hours(1),
            confirmation: TimeDelta::hours(48),
            session: TimeDelta::days(30),
            session_idle: TimeDelta::days(14),
            access_token: TimeDelta::minutes(15),
            refresh_grace: TimeDelta::seconds(10),
        }
    }
}

impl Lifetimes {
    /// Reads them; what is wrong stays in `settings` and shows at its `finish`.
    pub(super) fn read(settings: &mut Settings) -> Option<Self> {
        let usual = Self::default();
        let hours = TimeDelta::hours;
        let (minutes, days) = (TimeDelta::minutes, TimeDelta::days);
        // Mails that are retried for a while must arrive with time left (guarantees R4), and a link that lives for days is
        // a password in a mailbox.
        let reset_link =
            between(settings, "RESET_LINK_LIFETIME", usual.reset_link, minutes(15)..=hours(24), "15m", "24h");
        let confirmation =
            between(settings, "CONFIRMATION_LIFETIME", usual.confirmation, hours(1)..=days(30), "1h", "30d");
        let session =
            between(settings, "SESSION_LIFETIME", usual.session, hours(1)..=days(365), "1h", "365d");
        let access_token =
            between(settings, "ACCESS_TOKEN_LIFETIME", usual.access_token, minutes(1)..=hours(1), "1m", "1h");
        let refresh_grace = between(
            settings,
            "REFRESH_GRACE",
            usual.refresh_grace,
            TimeDelta::zero()..=minutes(5),
            "0",
            "5m",
        );
        let idle_default = session.map_or(usual.session_idle, |session| session.min(usual.session_idle));
        let session_idle = between(
            settings,
            "SESSION_IDLE",
            idle_default,
            minutes(15)..=days(365),
            "15m",
            "SESSION_LIFETIME",
        );
        // Below the life of an access token nothing would be noticed of the idle time.
        if session_idle.zip(session).is_some_and(|(idle, session)| idle > session) {
            settings.problem("SESSION_IDLE", "must not be above SESSION_LIFETIME");
        }
        if session_idle.zip(access_token).is_some_and(|(idle, access)| idle < access) {
            settings.problem("SESSION_IDLE", "must not be below ACCESS_TOKEN_LIFETIME");
        }
        Some(Self {
            reset_link: reset_link?,
            confirmation: confirmation?,
            session: session?,
            session_idle: session_idle?,
            access_token: access_token?,
            refresh_grace: refresh_grace?,
        })
    }
}

/// A duration within a range, whose ends are also given as an operator writes them.
fn between(
    settings: &mut Settings,
    name: &str,
    default: TimeDelta,
    range: RangeInclusive<TimeDelta>,
    from: &str,
    to: &str,
) -> Option<TimeDelta> {
    let wants = format!("a duration from `{from}` to `{to}`");
    let duration = settings.or(name, HumanDuration(default), &wants)?.0;
    if !range.contains(&duration) {
        settings.problem(name, &format!("wants {wants}"));
        return None;
    }
    Some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<Lifetimes, String> {
        let mut settings = Settings::from_map(values.iter().copied());
        let lifetimes = Lifetimes::read(&mut settings);
        settings.finish(|| lifetimes).map_err(|error| error.to_string())
    }

    #[test]
    fn lifetimes_have_defaults_and_bounds() {
        assert_eq!(read(&[]).unwrap(), Lifetimes::default());
        let short = read(&[("SESSION_LIFETIME", "2h"), ("RESET_LINK_LIFETIME", "30m")]).unwrap();
        assert_eq!((short.session_idle, short.reset_link), (TimeDelta::hours(2), TimeDelta::minutes(30)));
        for (name, value) in [
            ("RESET_LINK_LIFETIME", "14m"),
            ("RESET_LINK_LIFETIME", "25h"),
            ("CONFIRMATION_LIFETIME", "59m"),
            ("CONFIRMATION_LIFETIME", "31d"),
            ("SESSION_LIFETIME", "59m"),
            ("SESSION_LIFETIME", "366d"),
            ("SESSION_IDLE", "14m"),
            ("SESSION_IDLE", "31d"),
            ("SESSION_IDLE", "soon"),
            ("ACCESS_TOKEN_LIFETIME", "59s"),
            ("ACCESS_TOKEN_LIFETIME", "61m"),
            ("REFRESH_GRACE", "301"),
            ("REFRESH_GRACE", "-1s"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{name}={value}: {error}");
        }
        let error = read(&[("SESSION_IDLE", "20m"), ("ACCESS_TOKEN_LIFETIME", "30m")]).unwrap_err();
        assert!(error.contains("SESSION_IDLE must not be below ACCESS_TOKEN_LIFETIME"), "{error}");
    }
}
