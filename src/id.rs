//! Names of things: random 128-bit object names, keyed 256-bit chunk ids.
//! Plain values; where randomness comes from is the caller's business.

use std::fmt;
use std::str::FromStr;

/// A text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected {expected} lower-case hexadecimal digits")]
pub struct ParseIdError {
    /// How many digits the id has.
    pub expected: usize,
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let fault = ParseIdError { expected: N * 2 };
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(fault);
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return Err(fault),
            };
            *byte = *byte << 4 | value;
        }
    }
    Ok(out)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(
            /// The bytes of the id.
            pub [u8; $len],
        );

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map($name)
            }
        }
    };
}

id!(
    /// A repository: chosen at random by `init`, part of every header in it.
    RepositoryId, 16
);
id!(
    /// One stored object (pack, index, key slot): random, so a name tells nothing.
    ObjectId, 16
);
id!(
    /// A writer: one machine and user, owner of one chain in the log.
    WriterId, 16
);
id!(
    /// A snapshot: the name people type, first digits suffice.
    SnapshotId, 16
);
id!(
    /// A chunk or page: keyed BLAKE3-256 over its kind and plaintext.
    ChunkId, 32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_the_rest() {
        let id = ObjectId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "00",
            "G0303132333435363738396162636465",
            "A0303132333435363738396162636465",
            "30313233343536373839616263646566aa",
        ] {
            assert_eq!(bad.parse::<ObjectId>(), Err(ParseIdError { expected: 32 }), "{bad}");
        }
    }
}
