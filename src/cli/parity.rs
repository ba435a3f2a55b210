//! `--parity`: how much is stored beside packs to mend them by.

use crate::cli::open::Opened;
use crate::format::parity::PerMille;
use crate::repo::Repo;
use crate::store::Location;

/// An amount that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    Off,
    PerMille(PerMille),
}

/// Commands that store packs have this.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ParityArgs {
    /// Store so much more (percent of what is stored), out of which damaged parts can be computed anew; 2 in folders and off in
    /// clouds unless given
    #[arg(long, value_name = "PERCENT|off", value_parser = amount)]
    pub(super) parity: Option<Amount>,
}

impl ParityArgs {
    /// The repository, whose packs get what was asked for.
    pub(super) fn repo(&self, opened: &Opened) -> Repo {
        let amount = match self.parity {
            Some(Amount::Off) => None,
            Some(Amount::PerMille(amount)) => Some(amount),
            None => usual(&opened.location),
        };
        opened.repo.clone().with_parity(amount)
    }
}

/// Clouds have parity of their own; a disk has none.
fn usual(location: &Location) -> Option<PerMille> {
    matches!(location, Location::Folder(_)).then_some(PerMille::TYPICAL)
}

fn amount(text: &str) -> Result<Amount, String> {
    if text == "off" {
        return Ok(Amount::Off);
    }
    let percent: Option<f64> = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    match percent {
        Some(percent) if (0.1..=100.0).contains(&percent) => {
            Ok(Amount::PerMille(PerMille((percent * 10.0).round() as u16)))
        }
        _ => Err("give a percentage from 0.1 to 100, or 'off'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read() {
        assert_eq!(amount("off"), Ok(Amount::Off));
        assert_eq!(amount("2"), Ok(Amount::PerMille(PerMille(20))));
        assert_eq!(amount("0.5%"), Ok(Amount::PerMille(PerMille(5))));
        for bad in ["0", "101", "x", "-1", "NaN", ""] {
            assert!(amount(bad).is_err(), "{bad}");
        }
    }
}
