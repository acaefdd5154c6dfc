//! Small texts that a browser keeps for us and cannot change: `text.mac`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::token::Key;
use subtle::ConstantTimeEq as _;

/// Signs a text that has no dot in it.
pub(super) fn sign(key: &Key, text: &str) -> String {
    format!("{text}.{}", mac(key, text))
}

/// The text, if it was signed with this key.
pub(super) fn verify<'a>(key: &Key, signed: &'a str) -> Option<&'a str> {
    let (text, given) = signed.split_once('.')?;
    bool::from(mac(key, text).as_bytes().ct_eq(given.as_bytes())).then_some(text)
}

fn mac(key: &Key, text: &str) -> String {
    URL_SAFE_NO_PAD.encode(key.mac_message(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_verifies() {
        let key = Key::new([1; 32]);
        let signed = sign(&key, "0123456789");
        assert_eq!(verify(&key, &signed), Some("0123456789"));
        assert_eq!(verify(&Key::new([2; 32]), &signed), None);
        for bad in ["", ".", "0123456789", "0123456789.", &signed.replace("01", "11"), &format!("{signed}A")]
        {
            assert_eq!(verify(&key, bad), None, "{bad}");
        }
    }
}
