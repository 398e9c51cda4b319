//! Options of an expiry.

use clap::Args;
use jiff::Timestamp;

use super::time;

/// When a token or a user expires.
#[derive(Debug, Args)]
pub struct Expiry {
    /// Time of the expiry, such as 2030-01-31T08:00:00Z. Default: never.
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant, conflicts_with = "expires_in")]
    until: Option<Timestamp>,
    /// Time until the expiry, such as 12h or 90d. Default: never.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration_ms, allow_hyphen_values = true)]
    expires_in: Option<u64>,
}

impl Expiry {
    /// Returns the time of the expiry. `None`: no option is given.
    pub fn at(&self) -> Option<Timestamp> {
        let after = |ms: u64| {
            let end = time::now().as_millisecond().saturating_add_unsigned(ms);
            Timestamp::from_millisecond(end).unwrap_or(Timestamp::MAX)
        };
        self.until.or(self.expires_in.map(after))
    }
}
