//! File descriptors. A process that runs out of them accepts nobody, and cannot open its store's files either.

/// What is left for everything that is no connection of a caller's: store, broker, leases, files.
const RESERVED: u64 = 256;

/// How many connections there is room for, up to `wanted`. Asks the system for as many descriptors as that takes.
pub fn room_for(wanted: usize) -> usize {
    let room = fitting(wanted, limit(wanted as u64 + RESERVED));
    if room < wanted {
        tracing::warn!(room, wanted, "server.max_connections is over what the limit of open files allows");
    }
    room
}

fn fitting(wanted: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return wanted };
    // Where there are very few, half of them.
    let room = limit.saturating_sub(RESERVED).max(limit / 2).max(1);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// The limit of open files, raised towards `wanted` as far as a process may by itself; `None`: there is none.
#[cfg(unix)]
fn limit(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if raised <= current {
        return Some(current);
    }
    let set = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    Some(if set.is_ok() { raised } else { current })
}

#[cfg(not(unix))]
fn limit(_wanted: u64) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_for_the_store() {
        assert_eq!(fitting(10_000, None), 10_000);
        assert_eq!(fitting(10_000, Some(20_000)), 10_000);
        assert_eq!(fitting(10_000, Some(1_024)), 768);
        assert_eq!(fitting(10_000, Some(64)), 32);
        assert_eq!(fitting(10_000, Some(0)), 1);
        assert_eq!(fitting(5, Some(1_024)), 5);
    }

    #[test]
    fn a_few_connections_fit_everywhere() {
        assert_eq!(room_for(10), 10);
    }
}
