//! Reads settings one by one and keeps what is wrong with them until the end.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use chrono::TimeDelta;
use secrecy::SecretString;

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has problems:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

/// The settings of a process, and the problems met while reading them.
pub struct Settings {
    values: BTreeMap<String, String>,
    problems: Vec<String>,
    /// What was asked for, as an operator may see it.
    read: BTreeMap<String, Shown>,
}

/// A setting as it may be shown.
enum Shown {
    /// As it was given.
    Given(String),
    /// As it is when nobody gives it.
    Default(String),
    /// A secret that was given.
    Secret,
    /// Nothing: it may be missing.
    Missing,
}

/// The environment holds secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("problems", &self.problems).finish_non_exhaustive()
    }
}

impl Settings {
    /// The process's environment.
    pub fn from_env() -> Self {
        #[allow(clippy::disallowed_methods, reason = "this is where the environment is read")]
        let values = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { values, problems: Vec::new(), read: BTreeMap::new() }
    }

    /// Settings from a list, for tests.
    pub fn from_map<K: Into<String>, V: Into<String>>(values: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, problems: Vec::new(), read: BTreeMap::new() }
    }

    /// Notes a problem with a setting. `problem` continues the setting's name and must not repeat its value.
    pub fn problem(&mut self, name: &str, problem: &str) {
        self.problems.push(format!("{name} {problem}"));
    }

    /// The raw value, with no problem noted when it is missing.
    pub fn peek(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of `NAME`, or the content of the file that `NAME_FILE` names. Empty counts as missing.
    fn raw(&mut self, name: &str) -> Option<String> {
        let file_name = format!("{name}_FILE");
        match (self.peek(name).map(str::to_owned), self.peek(&file_name).map(str::to_owned)) {
            (Some(_), Some(_)) => {
                self.problem(name, &format!("and {file_name} are both set: keep one"));
                None
            }
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    self.problem(&file_name, &format!("names a file that cannot be read ({})", error.kind()));
                    None
                }
            },
            (value, None) => value,
        }
    }

    /// A setting that may be missing. `wants` says what it takes.
    pub fn optional<T: FromStr>(&mut self, name: &str, wants: &str) -> Option<T> {
        let raw = self.raw(name);
        let shown = raw.as_ref().map_or(Shown::Missing, |raw| Shown::Given(raw.trim().to_owned()));
        self.read.insert(name.to_owned(), shown);
        let raw = raw?;
        let parsed = raw.trim().parse().ok();
        if parsed.is_none() {
            self.problem(name, &format!("wants {wants}"));
        }
        parsed
    }

    /// A setting with a default. `None` only when it is set and wrong.
    pub fn or<T: FromStr + fmt::Display>(&mut self, name: &str, default: T, wants: &str) -> Option<T> {
        let before = self.problems.len();
        match self.optional(name, wants) {
            Some(value) => Some(value),
            None if self.problems.len() == before => {
                self.read.insert(name.to_owned(), Shown::Default(default.to_string()));
                Some(default)
            }
            None => None,
        }
    }

    /// A setting that must be there.
    pub fn required<T: FromStr>(&mut self, name: &str, wants: &str) -> Option<T> {
        let before = self.problems.len();
        let value = self.optional(name, wants);
        if value.is_none() && self.problems.len() == before {
            self.problem(name, &format!("is missing: it wants {wants}"));
        }
        value
    }

    /// A secret that may be missing.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        let secret = self.raw(name).map(SecretString::from);
        self.read.insert(name.to_owned(), if secret.is_some() { Shown::Secret } else { Shown::Missing });
        secret
    }

    /// A secret that must be there.
    pub fn required_secret(&mut self, name: &str, wants: &str) -> Option<SecretString> {
        let before = self.problems.len();
        let secret = self.secret(name);
        if secret.is_none() && self.problems.len() == before {
            self.problem(name, &format!("is missing: it wants {wants}"));
        }
        secret
    }

    /// Whether a problem has been noted.
    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Everything that was read, one setting a line, as `.env` files have it. Of a secret it says that there is one.
    pub fn list(&self) -> String {
        let mut list = String::new();
        for (name, shown) in &self.read {
            // Writing into a string does not fail.
            let _ = match shown {
                Shown::Given(value) => writeln!(list, "{name}={value}"),
                Shown::Default(value) => writeln!(list, "{name}={value} # the default"),
                Shown::Secret => writeln!(list, "{name}=[redacted]"),
                Shown::Missing => writeln!(list, "{name}= # not set"),
            };
        }
        list
    }

    /// The finished configuration, or every problem.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match build() {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError(self.problems)),
        }
    }
}

/// A duration as people write it: `0`, `90s`, `15m`, `24h`, `7d`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanDuration(pub TimeDelta);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.num_seconds() {
            0 => f.write_str("0"),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

impl FromStr for HumanDuration {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let amount: i64 = digits.trim().parse().map_err(|_| ())?;
        let seconds = match text.get(digits.len()..) {
            Some("" | "s") => 1,
            Some("m") => 60,
            Some("h") => 3_600,
            Some("d") => 86_400,
            _ => return Err(()),
        };
        if amount < 0 {
            return Err(());
        }
        amount.checked_mul(seconds).and_then(TimeDelta::try_seconds).map(Self).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in
            [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800)]
        {
            assert_eq!(text.parse::<HumanDuration>().unwrap().0.num_seconds(), seconds);
        }
        for bad in ["", "h", "-1s", "1w", "1.5h", "1h30m", "9223372036854775807d"] {
            assert!(bad.parse::<HumanDuration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn p5_what_was_read_is_listed_and_no_secret_with_it() {
        let mut settings = Settings::from_map([("A", " 5 "), ("KEY", "hunter2"), ("UNREAD", "hunter3")]);
        let _ = settings.optional::<u8>("A", "a number");
        let _ = settings.or("B", HumanDuration(TimeDelta::hours(1)), "a duration");
        let _ = settings.optional::<u8>("C", "a number");
        let _ = (settings.secret("KEY"), settings.secret("OTHER_KEY"));
        let list = settings.list();
        let lines =
            ["A=5", "B=3600s # the default", "C= # not set", "KEY=[redacted]", "OTHER_KEY= # not set"];
        assert_eq!(list.lines().collect::<Vec<_>>(), lines);
        assert!(!format!("{settings:?}").contains("hunter"));
    }

    #[test]
    fn a_file_stands_in_for_a_value_but_not_beside_it() {
        let dir = std::env::temp_dir().join(format!("trellis-settings-{}", std::process::id()));
        std::fs::write(&dir, "5\n").unwrap();
        let path = dir.to_str().unwrap().to_owned();
        let mut settings =
            Settings::from_map([("A_FILE", path.clone()), ("B", "1".into()), ("B_FILE", path)]);
        assert_eq!(settings.required::<u8>("A", "a number"), Some(5));
        assert_eq!(settings.optional::<u8>("B", "a number"), None);
        assert_eq!(settings.or("C", 7_u8, "a number"), Some(7));
        let ConfigError(problems) = settings.finish(|| Some(())).unwrap_err();
        assert_eq!(problems, ["B and B_FILE are both set: keep one"]);
        std::fs::remove_file(dir).unwrap();
    }
}
