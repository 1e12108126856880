//! Base64 text as datasets have it: with or without padding, with line ends, with the JSON escapes that
//! some writers use, and with the head of a data URI.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Flaw;

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that base64 text stands for. The text may be the inside of a JSON string, escapes and all.
///
/// # Errors
///
/// If it is not base64.
pub fn decoded(text: &[u8]) -> Result<Vec<u8>, Flaw> {
    let unreadable = |what: String| Flaw::Unreadable(format!("not base64: {what}"));
    let text = match memchr::memchr(b'\\', text) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let quoted = [b"\"", text, b"\""].concat();
            let plain: String = serde_json::from_slice(&quoted).map_err(|error| unreadable(error.to_string()))?;
            Cow::Owned(plain.into_bytes())
        }
    };
    let start = match text.starts_with(b"data:") {
        true => memchr::memchr(b',', &text).map_or(0, |comma| comma + 1),
        false => 0,
    };
    let body = &text[start..];
    let decoded = match body.iter().any(u8::is_ascii_whitespace) {
        false => ENGINE.decode(body),
        true => ENGINE.decode(body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<u8>>()),
    };
    decoded.map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_every_way_that_datasets_write_it() {
        for text in ["aGk/aGk/", r"aGk\/aGk\/", r"aGk/\naGk/\n", "aGk/\naGk/", "data:image/png;base64,aGk/aGk/"] {
            assert_eq!(decoded(text.as_bytes()).unwrap(), b"hi?hi?", "{text}");
        }
        assert_eq!(decoded(b"aGkhIQ==").unwrap(), decoded(b"aGkhIQ").unwrap());
        let problem = decoded(b"no image!").unwrap_err().to_string();
        assert!(problem.starts_with("it is unreadable: not base64: "), "{problem}");
    }
}
