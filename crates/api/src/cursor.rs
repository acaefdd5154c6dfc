//! Cursors of lists: opaque, stable under inserts (they name the last item seen), and bound to one list of one user, so
//! that a changed or borrowed one is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use domain::page::Cursor;
use domain::token::Key;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::problem::{Code, Problem};

/// Bytes of a time (microseconds), an id, and of the MAC over them.
const LENGTHS: (usize, usize, usize) = (8, 16, 16);

/// Writes and reads the cursors of one list of one user.
pub struct Cursors {
    key: Key,
}

impl Cursors {
    /// For the list `name` of `user_id`; filters belong to the name.
    pub fn new(key: &Key, name: &str, user_id: Uuid) -> Self {
        Self { key: key.derive(&format!("cursor {name} {user_id}")) }
    }

    /// The cursor that continues after an item.
    pub fn write(&self, cursor: Cursor) -> String {
        let mut bytes = cursor.at.timestamp_micros().to_be_bytes().to_vec();
        bytes.extend_from_slice(cursor.id.as_bytes());
        bytes.extend_from_slice(&self.mac(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads one; a foreign or changed one is `invalid_cursor`.
    pub fn read(&self, text: &str) -> Result<Cursor, Problem> {
        self.parse(text).ok_or_else(|| Problem::new(Code::InvalidCursor))
    }

    fn parse(&self, text: &str) -> Option<Cursor> {
        let (time, id, mac) = LENGTHS;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == time + id + mac)?;
        let (content, given) = bytes.split_at_checked(time + id)?;
        if !bool::from(self.mac(content).ct_eq(given)) {
            return None;
        }
        let (at, id) = content.split_at_checked(time)?;
        let at = DateTime::from_timestamp_micros(i64::from_be_bytes(at.try_into().ok()?))?;
        Some(Cursor { at, id: Uuid::from_slice(id).ok()? })
    }

    fn mac(&self, content: &[u8]) -> Vec<u8> {
        self.key.mac_message(content).into_iter().take(LENGTHS.2).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursors(name: &str) -> Cursors {
        Cursors::new(&Key::new([3; 32]), name, Uuid::nil())
    }

    #[test]
    fn f10_a_cursor_continues_its_own_list_only() {
        let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let cursor = Cursor { at, id: Uuid::now_v7() };
        let text = cursors("referrals").write(cursor);
        assert_eq!(cursors("referrals").read(&text).unwrap(), cursor);
        assert!(cursors("rewards").read(&text).is_err());
        let other = Cursors::new(&Key::new([3; 32]), "referrals", Uuid::max());
        assert_eq!(other.read(&text).unwrap_err().code(), Code::InvalidCursor);
        for index in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert!(cursors("referrals").read(std::str::from_utf8(&changed).unwrap()).is_err());
        }
    }

    proptest! {
        #[test]
        fn t10_any_text_is_read_without_a_panic(text in ".*") {
            prop_assert!(cursors("referrals").read(&text).is_err());
        }
    }
}
