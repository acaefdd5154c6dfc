//! The codec of queue entries: a job's id as plain bytes.

use std::convert::Infallible;

use apalis_core::backend::codec::Codec;

/// Reads any bytes as an id. A payload that is not an id finds no job and is dropped by the handler; an error here would
/// stop the library's worker and the jobs it runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdBytes;

impl Codec<String> for IdBytes {
    type Error = Infallible;
    type Compact = Vec<u8>;

    fn encode(&self, id: &String) -> Result<Vec<u8>, Infallible> {
        Ok(id.clone().into_bytes())
    }

    fn decode(&self, bytes: &Vec<u8>) -> Result<String, Infallible> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q3_any_bytes_are_a_payload() {
        for bytes in [&b"0198"[..], b"", b"{\"bad\":1}", b"not json", &[0xff, 0x00, 0xfe]] {
            let Ok(_) = IdBytes.decode(&bytes.to_vec());
        }
        let Ok(bytes) = IdBytes.encode(&"an id".to_owned());
        assert_eq!(bytes, b"an id");
    }
}
