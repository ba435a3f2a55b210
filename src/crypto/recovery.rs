//! Recovery codes: passwords that are made up by the machine, written down on paper and typed again years later.
//!
//! 22 random bytes and 3 bytes of their hash, as 8 groups of 5 characters of Crockford's alphabet, which leaves out letters
//! that are taken for others. Typed in any case, with or without dashes and blanks; O counts as 0, I and L as 1. What goes to
//! the password slot is always the same 40 characters. A code with a slip in it is told from a wrong password.

use crate::crypto::password::Password;
use crate::crypto::random;
use std::fmt;
use zeroize::Zeroize;
use zeroize::ZeroizeOnDrop;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CONTEXT_SUM: &str = "bygone 2026 v1 recovery code";
const RANDOM_BYTES: usize = 22;
const CODE_BYTES: usize = 25;
const DIGITS: usize = CODE_BYTES * 8 / 5;
const GROUP: usize = 5;

/// A recovery code. Shown once; wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryCode([u8; DIGITS]);

/// What somebody typed for a password.
#[derive(Debug)]
pub enum Typed {
    /// A recovery code.
    Code(RecoveryCode),
    /// It looks like one, but cannot be: there is a slip in it.
    Mistyped,
    /// A password of another kind.
    Password,
}

impl RecoveryCode {
    /// A new one: 176 bits nobody can guess.
    pub fn generate() -> RecoveryCode {
        RecoveryCode::of(&Zeroizing::new(random::<RANDOM_BYTES>()))
    }

    fn of(secret: &[u8; RANDOM_BYTES]) -> RecoveryCode {
        let mut bytes = Zeroizing::new([0; CODE_BYTES]);
        bytes[..RANDOM_BYTES].copy_from_slice(secret);
        bytes[RANDOM_BYTES..].copy_from_slice(&sum(secret));
        let mut digits = [0; DIGITS];
        // Five bytes are eight digits.
        for (eight, five) in digits.chunks_exact_mut(8).zip(bytes.chunks_exact(5)) {
            let mut bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for digit in eight.iter_mut().rev() {
                *digit = ALPHABET[(bits & 31) as usize];
                bits >>= 5;
            }
        }
        RecoveryCode(digits)
    }

    /// As people write it down.
    pub fn shown(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(DIGITS + DIGITS / GROUP));
        for (at, digit) in self.0.iter().enumerate() {
            if at > 0 && at % GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(*digit));
        }
        text
    }

    /// For a password slot.
    pub fn password(&self) -> Password {
        Password::new(self.0.to_vec())
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(***)")
    }
}

fn sum(secret: &[u8; RANDOM_BYTES]) -> [u8; CODE_BYTES - RANDOM_BYTES] {
    let [a, b, c, ..] = blake3::derive_key(CONTEXT_SUM, secret);
    [a, b, c]
}

/// Tells recovery codes from other passwords.
pub fn read(typed: &[u8]) -> Typed {
    let mut digits = Zeroizing::new([0_u8; DIGITS]);
    let mut count = 0;
    let mut dashes = 0;
    for byte in typed {
        let digit = match byte.to_ascii_uppercase() {
            b'-' => {
                dashes += 1;
                continue;
            }
            blank if blank.is_ascii_whitespace() => continue,
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        };
        if !digit.is_ascii_alphanumeric() {
            return Typed::Password;
        }
        if let Some(place) = digits.get_mut(count) {
            *place = digit;
        }
        count += 1;
    }
    let looks_like_one = count == DIGITS || (dashes == DIGITS / GROUP - 1 && count.abs_diff(DIGITS) < GROUP);
    if !looks_like_one {
        return Typed::Password;
    }
    match value(&digits).filter(|_| count == DIGITS) {
        Some(secret) if RecoveryCode::of(&secret).0 == *digits => Typed::Code(RecoveryCode(*digits)),
        _ => Typed::Mistyped,
    }
}

/// The random bytes of a code; `None` if a character is not of the alphabet.
fn value(digits: &[u8; DIGITS]) -> Option<Zeroizing<[u8; RANDOM_BYTES]>> {
    let mut bytes = Zeroizing::new([0_u8; CODE_BYTES]);
    for (five, eight) in bytes.chunks_exact_mut(5).zip(digits.chunks_exact(8)) {
        let mut bits = 0_u64;
        for digit in eight {
            bits = bits << 5 | ALPHABET.iter().position(|known| known == digit)? as u64;
        }
        for byte in five.iter_mut().rev() {
            *byte = (bits & 255) as u8;
            bits >>= 8;
        }
    }
    let mut secret = Zeroizing::new([0; RANDOM_BYTES]);
    secret.copy_from_slice(&bytes[..RANDOM_BYTES]);
    Some(secret)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn code(typed: &str) -> Option<RecoveryCode> {
        if let Typed::Code(code) = read(typed.as_bytes()) { Some(code) } else { None }
    }

    #[test]
    fn codes_are_read_however_they_are_typed() {
        let made = RecoveryCode::of(&[0xa5; RANDOM_BYTES]);
        let shown = made.shown();
        assert_eq!(shown.len(), 47);
        assert!(shown.split('-').count() == 8 && shown.split('-').all(|group| group.len() == GROUP), "{}", *shown);
        for typed in [
            shown.to_string(),
            shown.to_lowercase(),
            shown.replace('-', ""),
            shown.replace('-', " "),
            format!("  {}\t", shown.replace('0', "o").replace('1', "l")),
            shown.replace('1', "I").replace('0', "O"),
        ] {
            assert_eq!(code(&typed), Some(made.clone()), "{typed}");
        }
        assert!(made.password().matches(&Password::new(shown.replace('-', "").into_bytes())));
        assert_eq!(format!("{made:?}"), "RecoveryCode(***)");
        let zeros = RecoveryCode::of(&[0; RANDOM_BYTES]);
        assert_eq!(code(&zeros.shown().to_lowercase().replace('0', "o")), Some(zeros));
    }

    #[test]
    fn no_two_are_alike() {
        let (a, b) = (RecoveryCode::generate(), RecoveryCode::generate());
        assert_ne!(a, b);
        assert_eq!(code(&a.shown()), Some(a));
    }

    #[test]
    fn one_slip_is_noticed() {
        let shown = RecoveryCode::of(&[7; RANDOM_BYTES]).shown();
        for at in 0..shown.len() {
            let mut slip = shown.as_bytes().to_vec();
            if slip[at] == b'-' {
                continue;
            }
            slip[at] = if slip[at] == b'7' { b'8' } else { b'7' };
            assert!(matches!(read(&slip), Typed::Mistyped), "{at}");
            slip[at] = b'U';
            assert!(matches!(read(&slip), Typed::Mistyped), "{at}");
            slip.remove(at);
            assert!(matches!(read(&slip), Typed::Mistyped), "{at}");
        }
        let swapped = [&shown[6..11], "-", &shown[..5], &shown[11..]].concat();
        assert!(matches!(read(swapped.as_bytes()), Typed::Mistyped) || shown[..5] == shown[6..11]);
    }

    #[test]
    fn other_passwords_are_left_alone() {
        for other in ["", "correct horse battery staple", "p-a-s-s-w-o-r-d", "ÄÖÜ", "a\0b"] {
            assert!(matches!(read(other.as_bytes()), Typed::Password), "{other}");
        }
        let sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert!(matches!(read(sha1.as_bytes()), Typed::Mistyped));
        // Dashes where a code has them, and a whole group too much or too little is no slip.
        let grouped = |count: usize| {
            let digits = "7".repeat(count);
            let groups: Vec<&str> =
                (0..DIGITS / GROUP).map(|n| &digits[(n * GROUP).min(count)..((n + 1) * GROUP).min(count)]).collect();
            groups.join("-")
        };
        assert!(matches!(read(grouped(DIGITS - GROUP).as_bytes()), Typed::Password));
        assert!(matches!(read(grouped(DIGITS - GROUP + 1).as_bytes()), Typed::Mistyped));
        let sentence = format!("{}!", "x".repeat(39));
        assert!(matches!(read(sentence.as_bytes()), Typed::Password));
    }
}
