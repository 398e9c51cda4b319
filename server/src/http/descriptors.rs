//! Limit of open files. Without free file descriptors, a process can neither accept connections nor
//! open the files of its store.

/// Descriptors that are reserved for the store, the broker, the lock and files.
const RESERVED: u64 = 256;

/// Returns the number of connections that fit into the limit of open files, at most `wanted`.
/// Raises the limit if necessary.
pub fn max_connections(wanted: usize) -> usize {
    let room = fitting(wanted, limit(wanted as u64 + RESERVED));
    if room < wanted {
        tracing::warn!(
            allowed = room,
            configured = wanted,
            "server.max_connections reduced: the limit of open files is lower; raise it (ulimit -n)"
        );
    }
    room
}

fn fitting(wanted: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return wanted };
    // With a very low limit, connections get half of the descriptors.
    let room = limit.saturating_sub(RESERVED).max(limit / 2).max(1);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// Returns the limit of open files, after raising it to `wanted` as far as the hard limit allows.
/// `None`: there is no limit.
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
    fn descriptors_are_reserved_for_the_store() {
        assert_eq!(fitting(10_000, None), 10_000);
        assert_eq!(fitting(10_000, Some(20_000)), 10_000);
        assert_eq!(fitting(10_000, Some(1_024)), 768);
        assert_eq!(fitting(10_000, Some(64)), 32);
        assert_eq!(fitting(10_000, Some(0)), 1);
        assert_eq!(fitting(5, Some(1_024)), 5);
    }

    #[test]
    fn ten_connections_fit_into_any_limit() {
        assert_eq!(max_connections(10), 10);
    }
}
