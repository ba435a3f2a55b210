//! From a password to a key: Argon2id (RFC 9106), with ceilings so that a hostile slot cannot exhaust the machine.

use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::Version;
use zeroize::Zeroize;
use zeroize::ZeroizeOnDrop;

/// Cost of one guess. Every command that opens a repository pays it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// RFC 9106, second recommended choice: 64 MiB, 3 passes, 4 lanes.
    pub const DEFAULT: Cost = Cost { memory_kib: 64 << 10, passes: 3, lanes: 4 };
    /// For tests: as cheap as Argon2 allows.
    pub const CHEAP: Cost = Cost { memory_kib: 32, passes: 1, lanes: 1 };

    /// True if opening with this cost is neither impossible nor a bomb: at most 2 GiB, 16 passes, 16 lanes.
    pub fn is_acceptable(&self) -> bool {
        self.lanes >= 1
            && self.lanes <= 16
            && self.passes >= 1
            && self.passes <= 16
            && self.memory_kib >= 8 * self.lanes
            && self.memory_kib <= 2 << 20
    }
}

/// A password in memory, wiped when dropped and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(Vec<u8>);

impl Password {
    /// Takes the bytes as they are.
    pub fn new(bytes: Vec<u8>) -> Password {
        Password(bytes)
    }

    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if both are the same.
    pub fn matches(&self, other: &Password) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(***)")
    }
}

/// Key-encryption key and commitment, from a password. `None` if `cost` is not acceptable or memory is short.
pub fn derive(password: &Password, salt: &[u8; 16], cost: Cost) -> Option<([u8; 32], [u8; 32])> {
    if !cost.is_acceptable() {
        return None;
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(64)).ok()?;
    let mut out = [0; 64];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(&password.0, salt, &mut out).ok()?;
    let (mut key, mut commitment) = ([0; 32], [0; 32]);
    key.copy_from_slice(&out[..32]);
    commitment.copy_from_slice(&out[32..]);
    out.zeroize();
    Some((key, commitment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_bounded_on_both_sides() {
        assert_eq!(Cost::DEFAULT.memory_kib, 65_536);
        let accepted = |memory_kib, passes, lanes| Cost { memory_kib, passes, lanes }.is_acceptable();
        assert!(Cost::DEFAULT.is_acceptable() && Cost::CHEAP.is_acceptable());
        for (memory_kib, passes, lanes) in [(8, 1, 1), (128, 1, 16), (2 << 20, 16, 16)] {
            assert!(accepted(memory_kib, passes, lanes), "{memory_kib} {passes} {lanes}");
        }
        for (memory_kib, passes, lanes) in
            [(64, 0, 1), (64, 17, 1), (64, 1, 0), (4096, 1, 17), (7, 1, 1), (127, 1, 16), ((2 << 20) + 1, 1, 1)]
        {
            assert!(!accepted(memory_kib, passes, lanes), "{memory_kib} {passes} {lanes}");
            let cost = Cost { memory_kib, passes, lanes };
            assert!(derive(&Password::new(b"x".to_vec()), &[0; 16], cost).is_none());
        }
    }

    #[test]
    fn passwords_are_compared_and_not_printed() {
        let password = Password::new(b"correct horse".to_vec());
        assert!(!password.is_empty() && Password::new(Vec::new()).is_empty());
        assert!(password.matches(&password.clone()) && !password.matches(&Password::new(b"correct Horse".to_vec())));
        assert_eq!(format!("{password:?}"), "Password(***)");
    }
}
