//! The country of an address, from a file that the operator may have, in the format that `MaxMind` made common.
//!
//! Looked up while the request is at hand; the address goes no further. The file is read whole, and again when it changes:
//! no restart. One that cannot be read any more leaves the last good one in use.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use maxminddb::{Reader, path};

type File = Reader<Vec<u8>>;

/// A country by its code of two letters (ISO 3166-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads a code of two capital letters.
    pub fn from_code(code: &str) -> Option<Self> {
        let code: [u8; 2] = code.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(super) fn bytes(self) -> [u8; 2] {
        self.0
    }

    pub(super) fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        Self::from_code(std::str::from_utf8(&bytes).ok()?)
    }
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CountriesError {
    /// It cannot be read.
    #[error("it cannot be read ({})", .0.kind())]
    Io(#[from] std::io::Error),
    /// It has another format.
    #[error("it is no MaxMind database")]
    Format(#[from] maxminddb::MaxMindDbError),
}

/// The countries of addresses; of none, without a file.
#[derive(Default)]
pub struct Countries {
    path: Option<PathBuf>,
    file: RwLock<Option<Loaded>>,
}

impl fmt::Debug for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Countries").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Loaded {
    reader: Arc<File>,
    /// Time of change and length of what was read.
    state: (SystemTime, u64),
}

impl Countries {
    /// Reads the file, if there is to be one.
    pub fn open(path: Option<PathBuf>) -> Result<Self, CountriesError> {
        let countries = Self { path, file: RwLock::default() };
        countries.read_if_changed()?;
        Ok(countries)
    }

    /// The country of an address, if it is known.
    pub fn find(&self, address: IpAddr) -> Option<Country> {
        let reader = {
            let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&file.as_ref()?.reader)
        };
        let found = reader.lookup(address).ok()?;
        let code = found.decode_path::<&str>(&path!["country", "iso_code"]).ok()??;
        Country::from_code(code)
    }

    /// Reads the file again if it changed. Blocks while it reads.
    pub fn refresh(&self) {
        if let Err(error) = self.read_if_changed() {
            tracing::warn!(%error, "GEOIP_DATABASE cannot be read again: the last one stays in use");
        }
    }

    fn read_if_changed(&self) -> Result<(), CountriesError> {
        let Some(path) = &self.path else { return Ok(()) };
        let metadata = std::fs::metadata(path)?;
        let state = (metadata.modified()?, metadata.len());
        let known = self.file.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|file| file.state);
        if known == Some(state) {
            return Ok(());
        }
        let reader = Arc::new(Reader::from_source(std::fs::read(path)?)?);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = Some(Loaded { reader, state });
        Ok(())
    }
}
