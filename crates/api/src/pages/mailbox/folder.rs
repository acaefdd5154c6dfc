//! The folder that development mail is written to.
//!
//! A name from a URL reaches the file system only when it is a plain `.eml` file name, and only for a regular file
//! directly inside the folder: no separator, no leading dot, no link.

use std::fs;
use std::io;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};

use super::message::{self, Message};

/// No more than this many messages are listed: a folder that was never emptied still opens at once.
const LISTED: usize = 200;

/// A larger file is none of our mail.
const LARGEST: u64 = 4 * 1024 * 1024;

/// A message as the list shows it.
pub(super) struct Entry {
    /// The name of its file.
    pub(super) file: String,
    /// Its subject line.
    pub(super) subject: String,
    /// Whom it is for.
    pub(super) to: String,
    written: DateTime<Utc>,
}

impl Entry {
    /// When it was written, for a machine.
    pub(super) fn when_rfc3339(&self) -> String {
        self.written.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// When it was written, for a person.
    pub(super) fn when_text(&self) -> String {
        self.written.format("%-d %b %Y, %H:%M:%S UTC").to_string()
    }
}

/// The newest messages, newest first. A folder that does not exist yet is an empty one.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Entry>> {
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for item in listing {
        let item = item?;
        let Ok(name) = item.file_name().into_string() else { continue };
        let Some(written) = written(folder, &name)? else { continue };
        found.push((written, name));
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    let mut entries = Vec::new();
    for (_, name) in found.into_iter().take(LISTED) {
        entries.extend(open(folder, &name)?.map(|(entry, _)| entry));
    }
    Ok(entries)
}

/// One message; `None` when the folder holds no such message.
pub(super) fn open(folder: &Path, name: &str) -> io::Result<Option<(Entry, Message)>> {
    let Some(written) = written(folder, name)? else { return Ok(None) };
    let raw = match fs::read(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        raw => raw?,
    };
    let message = message::parse(&raw);
    let entry =
        Entry { file: name.to_owned(), subject: message.subject.clone(), to: message.to.clone(), written };
    Ok(Some((entry, message)))
}

/// When the message was written, if the name is one of a message.
fn written(folder: &Path, name: &str) -> io::Result<Option<DateTime<Utc>>> {
    if !is_message_name(name) {
        return Ok(None);
    }
    let about = match fs::symlink_metadata(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        about => about?,
    };
    if !about.is_file() || about.len() > LARGEST {
        return Ok(None);
    }
    Ok(Some(about.modified()?.into()))
}

fn is_message_name(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".eml") else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !stem.is_empty() && stem.len() <= 120 && !stem.starts_with('.') && stem.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_messages() {
        for name in ["a.eml", "0199a7b2-77aa-7000-8000-000000000000.eml", "1700000000.verify_email.eml"] {
            assert!(is_message_name(name), "{name}");
        }
        for name in [
            "",
            ".eml",
            "..eml",
            "...eml",
            ".hidden.eml",
            "../a.eml",
            "a/b.eml",
            "a\\b.eml",
            "/etc/passwd",
            "a.eml\0",
            "a.txt",
            "a.eml/",
            "ä.eml",
            "C:a.eml",
        ] {
            assert!(!is_message_name(name), "{name:?}");
        }
        assert!(!is_message_name(&format!("{}.eml", "a".repeat(121))));
    }
}
