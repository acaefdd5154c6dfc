//! Mail into a folder, for development: one `.eml` file a mail, readable by its owner alone.
//!
//! Invariant: a name that ends in `.eml` is a whole mail, and names sort by the time of sending.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domain::clock::Clock;
use uuid::Uuid;

use super::failure::{Cause, SendError, Step};

/// A folder of mails.
pub(super) struct Folder {
    path: PathBuf,
    clock: Clock,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, clock: Clock::system() }
    }

    /// Writes one mail. The same mail sent twice makes two files, as it would make two mails.
    pub(super) async fn deliver(&self, message_id: Uuid, mail: String) -> Result<(), SendError> {
        let now = self.clock.now().format("%Y%m%dT%H%M%S%.6fZ");
        // The random part keeps two processes apart that send the same mail in the same microsecond.
        let name = format!("{now}-{message_id}-{}.eml", Uuid::new_v4().simple());
        let folder = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write(&folder, &name, mail.as_bytes())).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SendError::at(Step::File, Cause::File(error.kind()))),
            Err(_) => Err(SendError::at(Step::File, Cause::File(io::ErrorKind::Other))),
        }
    }
}

fn write(folder: &Path, name: &str, mail: &[u8]) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let draft = folder.join(format!(".{name}.part"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let done = file.write_all(mail).and_then(|()| fs::rename(&draft, folder.join(name)));
    if done.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&draft);
    }
    done
}
