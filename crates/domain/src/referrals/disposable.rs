//! Domains that give addresses away for minutes: a list that comes with the release, and the operator's own over it.
//!
//! The operator's file has a domain a line; `!domain` takes one off the list, `#` begins a comment. It is read again when
//! it changes: no restart. A file that cannot be read any more leaves the last good list in force.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// On the list of the release, but what people type who try something out; whoever reads mail there reads it for long.
const ORDINARY: [&str; 2] = ["a.com", "test.com"];

static SHIPPED: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    mailchecker::blacklist().into_iter().filter(|domain| !ORDINARY.contains(domain)).collect()
});

/// What the operator says of domains: `true` is disposable, `false` is not.
type Own = HashMap<String, bool>;

/// The list.
#[derive(Debug, Default)]
pub struct Disposable {
    path: Option<PathBuf>,
    own: RwLock<Own>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    /// Time of change and length of what was read.
    state: Option<(SystemTime, u64)>,
}

impl Disposable {
    /// The list of the release with the operator's file over it.
    pub fn new(path: Option<PathBuf>) -> std::io::Result<Self> {
        let list = Self { path, ..Self::default() };
        list.read_if_changed()?;
        Ok(list)
    }

    /// Reads the file again if it changed, at most every two seconds. Not to be called with a transaction open.
    pub fn refresh(&self) {
        if self.path.is_none() {
            return;
        }
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
                return;
            }
            seen.looked = Some(Instant::now());
        }
        if let Err(error) = self.read_if_changed() {
            tracing::warn!(%error, "the list of disposable domains cannot be read: the last one stays in force");
        }
    }

    fn read_if_changed(&self) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let metadata = std::fs::metadata(path)?;
        let state = (metadata.modified()?, metadata.len());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.state == Some(state) {
            return Ok(());
        }
        let own = parse(&std::fs::read_to_string(path)?);
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
        seen.state = Some(state);
        Ok(())
    }

    /// Whether addresses of this domain, or of one above it, are given away for minutes. The nearest word about it counts,
    /// the operator's before the release's.
    pub fn has(&self, domain: &str) -> bool {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let mut rest = Some(domain);
        while let Some(name) = rest {
            if let Some(word) = own.get(name) {
                return *word;
            }
            if SHIPPED.contains(name) {
                return true;
            }
            rest = name.split_once('.').map(|(_, above)| above);
        }
        false
    }
}

fn parse(text: &str) -> Own {
    let lines =
        text.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_ascii_lowercase());
    let domain = |line: String| match line.strip_prefix('!') {
        Some(domain) => (domain.trim().to_owned(), false),
        None => (line, true),
    };
    lines.filter(|line| !line.is_empty()).map(domain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_release_knows_the_well_known_and_leaves_ordinary_ones_alone() {
        let list = Disposable::default();
        for domain in ["mailinator.com", "yopmail.com", "deep.inside.mailinator.com"] {
            assert!(list.has(domain), "{domain}");
        }
        for domain in
            ["example.org", "example.com", "gmail.com", "test.com", "com", "", "mailinator.com.example.org"]
        {
            assert!(!list.has(domain), "{domain}");
        }
    }

    #[test]
    fn the_operators_file_is_over_it_and_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("domains.txt");
        std::fs::write(&path, "# ours\nBurner.example\n!mailinator.com # a partner\n!good.burner.example\n")
            .unwrap();
        let list = Disposable::new(Some(path.clone())).unwrap();
        assert!(list.has("burner.example") && list.has("x.burner.example") && list.has("yopmail.com"));
        assert!(!list.has("mailinator.com") && !list.has("good.burner.example"));

        std::fs::write(&path, "other.example\n").unwrap();
        list.refresh();
        assert!(list.has("other.example") && !list.has("burner.example") && list.has("mailinator.com"));
        std::fs::remove_file(&path).unwrap();
        list.seen.lock().unwrap().looked = None;
        list.refresh();
        assert!(list.has("other.example"), "the last good list stays");
        assert!(Disposable::new(Some(path)).is_err(), "but nothing starts with one that is missing");
    }
}
