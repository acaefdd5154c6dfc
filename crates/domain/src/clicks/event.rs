//! What is known of a click or a view once the request is gone, and its form on the way through Redis.
//!
//! A batch is one entry of the stream: a version, an id, and some hundred events of about 65 bytes each. Only our own
//! processes write it, of this release or the one beside it: a newer version is left for whoever knows it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::agent::{BROWSERS, DEVICES, OTHER, SYSTEMS};
use super::{Country, Visitor};

/// The most events a batch has.
pub const LARGEST_BATCH: usize = 250;

/// How a batch begins.
const MAGIC: [u8; 2] = *b"TC";

/// The version that is written.
const VERSION: u8 = 1;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody followed a link.
    Click,
    /// Somebody saw a page.
    View,
}

impl Kind {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Click => "click",
            Self::View => "view",
        }
    }
}

/// Who did it. Only people count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Somebody.
    Person,
    /// A program that follows links.
    Robot,
    /// A browser, before anybody asked it to.
    Prefetch,
    /// Something that asked for the headers alone.
    Head,
    /// The owner, signed in.
    Owner,
}

impl Mark {
    const ALL: [Self; 5] = [Self::Person, Self::Robot, Self::Prefetch, Self::Head, Self::Owner];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Robot => "robot",
            Self::Prefetch => "prefetch",
            Self::Head => "head",
            Self::Owner => "owner",
        }
    }
}

/// A click or a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// Who did it.
    pub mark: Mark,
    /// When, to the millisecond.
    pub at: DateTime<Utc>,
    /// The link, or the owner of the page.
    pub subject: Uuid,
    /// The visitor of the subject, while there was a salt.
    pub visitor: Option<Visitor>,
    /// Of a click: the visitor of all links of the page.
    pub page_visitor: Option<Visitor>,
    /// The kind of device.
    pub device: &'static str,
    /// The family of the browser.
    pub browser: &'static str,
    /// The family of the operating system.
    pub system: &'static str,
    /// Where from.
    pub country: Option<Country>,
    /// The host that led here; empty when none did.
    pub referrer: String,
}

/// Some events, counted together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// By which it is counted once.
    pub id: Uuid,
    /// When it was put together.
    pub made_at: DateTime<Utc>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Why an entry of the stream is no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// A newer release may know what it says.
    #[error("a newer release wrote it")]
    Newer,
    /// Nobody wrote this.
    #[error("it is malformed")]
    Malformed,
}

impl Batch {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + self.events.len() * 72);
        bytes.extend(MAGIC);
        bytes.push(VERSION);
        bytes.extend(self.id.as_bytes());
        bytes.extend(self.made_at.timestamp_millis().to_be_bytes());
        for event in &self.events {
            event.encode(&mut bytes);
        }
        bytes
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let mut reader = Reader(bytes);
        match (reader.take(), reader.byte()) {
            (Some(MAGIC), Some(VERSION)) => {}
            (Some(MAGIC), Some(version)) if version > VERSION => return Err(Undecodable::Newer),
            _ => return Err(Undecodable::Malformed),
        }
        Self::decode_rest(&mut reader).ok_or(Undecodable::Malformed)
    }

    fn decode_rest(reader: &mut Reader<'_>) -> Option<Self> {
        let id = reader.uuid()?;
        let made_at = reader.time()?;
        let mut events = Vec::new();
        while !reader.0.is_empty() {
            events.push(Event::decode(reader)?);
        }
        Some(Self { id, made_at, events })
    }
}

impl Event {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let mark = Mark::ALL.iter().position(|mark| *mark == self.mark).unwrap_or_default();
        bytes.push(u8::from(self.kind == Kind::View));
        bytes.push(small(mark));
        bytes.extend(self.at.timestamp_millis().to_be_bytes());
        bytes.extend(self.subject.as_bytes());
        // No HMAC is all zeros.
        bytes.extend(self.visitor.map_or([0; 16], |visitor| visitor.0));
        if self.kind == Kind::Click {
            bytes.extend(self.page_visitor.map_or([0; 16], |visitor| visitor.0));
        }
        bytes.push(code(&DEVICES, self.device));
        bytes.push(code(&BROWSERS, self.browser));
        bytes.push(code(&SYSTEMS, self.system));
        bytes.extend(self.country.map_or([0; 2], Country::bytes));
        let referrer = self.referrer.as_bytes().get(..255).unwrap_or(self.referrer.as_bytes());
        bytes.push(small(referrer.len()));
        bytes.extend(referrer);
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let kind = match reader.byte()? {
            0 => Kind::Click,
            1 => Kind::View,
            _ => return None,
        };
        let mark = *Mark::ALL.get(usize::from(reader.byte()?))?;
        let at = reader.time()?;
        let subject = reader.uuid()?;
        let visitor = reader.visitor()?;
        let page_visitor = if kind == Kind::Click { reader.visitor()? } else { None };
        let device = name(&DEVICES, reader.byte()?);
        let browser = name(&BROWSERS, reader.byte()?);
        let system = name(&SYSTEMS, reader.byte()?);
        let country = Country::from_bytes(reader.take()?);
        let length = reader.byte()?;
        let referrer = std::str::from_utf8(reader.some(usize::from(length))?).ok()?.to_owned();
        // PostgreSQL takes no NUL.
        if referrer.contains('\0') {
            return None;
        }
        Some(Self {
            kind,
            mark,
            at,
            subject,
            visitor,
            page_visitor,
            device,
            browser,
            system,
            country,
            referrer,
        })
    }
}

/// Names go as their place on their list, which only grows; one that a newer release added reads as another's.
fn code(names: &[&str], name: &str) -> u8 {
    small(names.iter().position(|known| *known == name).unwrap_or_default())
}

fn name(names: &[&'static str], code: u8) -> &'static str {
    names.get(usize::from(code)).copied().unwrap_or(OTHER)
}

fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// What of an entry is still to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn some(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn uuid(&mut self) -> Option<Uuid> {
        self.take().map(Uuid::from_bytes)
    }

    fn time(&mut self) -> Option<DateTime<Utc>> {
        let time = DateTime::from_timestamp_millis(i64::from_be_bytes(self.take()?))?;
        // PostgreSQL knows fewer years than chrono, and nobody clicks in others.
        (1_000_000_000_000..10_000_000_000_000).contains(&time.timestamp_millis()).then_some(time)
    }

    #[allow(
        clippy::option_option,
        reason = "the outer one says whether there were enough bytes, as everywhere here"
    )]
    fn visitor(&mut self) -> Option<Option<Visitor>> {
        let bytes: [u8; 16] = self.take()?;
        Some((bytes != [0; 16]).then_some(Visitor(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(seed: u64) -> Event {
        let pick = |names: &[&'static str], by: u64| names[usize::try_from(by).unwrap() % names.len()];
        let kind = if seed.is_multiple_of(3) { Kind::View } else { Kind::Click };
        Event {
            kind,
            mark: Mark::ALL[usize::try_from(seed % 5).unwrap()],
            at: DateTime::from_timestamp_millis(1_795_000_000_000 + i64::try_from(seed % 1_000_000).unwrap())
                .unwrap(),
            subject: Uuid::from_u128(u128::from(seed) << 7),
            visitor: (!seed.is_multiple_of(7))
                .then_some(Visitor([small(usize::try_from(seed % 250).unwrap()) + 1; 16])),
            page_visitor: (kind == Kind::Click).then_some(Visitor([9; 16])),
            device: pick(&DEVICES, seed),
            browser: pick(&BROWSERS, seed),
            system: pick(&SYSTEMS, seed),
            country: Country::from_code(if seed.is_multiple_of(2) { "DE" } else { "?" }),
            referrer: if seed.is_multiple_of(4) { String::new() } else { format!("r{seed}.example") },
        }
    }

    fn batch(seeds: &[u64]) -> Batch {
        Batch {
            id: Uuid::from_u128(5),
            made_at: DateTime::from_timestamp_millis(1_795_000_000_123).unwrap(),
            events: seeds.iter().copied().map(event).collect(),
        }
    }

    #[test]
    fn q11_a_newer_version_is_told_from_rubbish() {
        assert_eq!(Batch::decode(b"TC\x02?"), Err(Undecodable::Newer));
        for rubbish in
            [&b""[..], b"{\"bad\":1}", b"TC", b"TC\x00", b"TC\x01", b"TC\x01 and no batch at all follows"]
        {
            assert_eq!(Batch::decode(rubbish), Err(Undecodable::Malformed), "{rubbish:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(seeds in proptest::collection::vec(any::<u64>(), 0..30)) {
            let batch = batch(&seeds);
            let bytes = batch.encode();
            prop_assert_eq!(Batch::decode(&bytes), Ok(batch));
            // Nothing that breaks off says something else.
            if let Some(short) = bytes.get(..bytes.len() - 1).filter(|_| !seeds.is_empty()) {
                prop_assert_eq!(Batch::decode(short), Err(Undecodable::Malformed));
            }
        }

        #[test]
        fn t10_any_entry_is_read(bytes: Vec<u8>) {
            let _any = Batch::decode(&bytes);
            let mut versioned = b"TC\x01".to_vec();
            versioned.extend(bytes);
            let _any = Batch::decode(&versioned);
        }
    }
}
