//! Number of runs in each state, for the tabs of a list. Counts end at 10,000, and are kept for some seconds, so
//! that many open pages cost as much as one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::html;
use super::problem::Result;
use super::search::RunSearch;
use crate::core::operation::{COUNT_LIMIT, Count};
use crate::core::{Moment, RunState};
use crate::engine::service::Service;

/// How long counts are kept, in milliseconds.
const KEPT_MS: i64 = 10_000;
/// Maximum number of filters whose counts are kept.
const MOST_KEPT: usize = 256;

/// Number of runs in each state.
pub type Counts = Arc<[(RunState, Count)]>;

/// Counts by filter and caller.
#[derive(Default)]
pub struct Facets(Mutex<HashMap<String, (Moment, Counts)>>);

impl Facets {
    /// Returns the number of matching runs in each state. `None`: no index counts them.
    pub async fn of(&self, service: &Service, search: &RunSearch) -> Result<Option<Counts>> {
        if !search.is_by_index(service) || !search.is_selection() {
            return Ok(None);
        }
        let mut wanted = search.wanted.clone();
        wanted.filter.state = None;
        let now = service.now();
        // Callers with other tags see other runs.
        let key = format!("{:?} {wanted:?}", service.caller().grant.tags);
        if let Some(counts) = self.kept(&key, now) {
            return Ok(Some(counts));
        }
        let counts: Counts = service.count_runs_by_state(&wanted).await?.into();
        self.keep(key, now, &counts);
        Ok(Some(counts))
    }

    fn kept(&self, key: &str, now: Moment) -> Option<Counts> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, counts) = kept.get(key)?;
        (0..KEPT_MS).contains(&now.since(*at)).then(|| Arc::clone(counts))
    }

    fn keep(&self, key: String, now: Moment, counts: &Counts) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(key, (now, Arc::clone(counts)));
    }
}

/// Returns a count as text: `9,999` or `10k+`.
pub fn text(count: Count) -> String {
    if count.more || count.rows >= COUNT_LIMIT { "10k+".to_owned() } else { html::count(count.rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_at_its_bound_says_that_there_may_be_more() {
        let text = |rows, more| text(Count { rows, more });
        assert_eq!([text(0, false), text(9_999, false), text(10_000, false)], ["0", "9,999", "10k+"]);
        assert_eq!(text(10_000, true), "10k+");
    }

    #[test]
    fn counts_are_kept_for_some_seconds() {
        let (facets, at) = (Facets::default(), Moment::from_sec(100));
        let counts: Counts = Arc::new([(RunState::Dead, Count::default())]);
        facets.keep("a".to_owned(), at, &counts);
        assert!(facets.kept("a", at.plus_ms(KEPT_MS - 1)).is_some() && facets.kept("b", at).is_none());
        assert!(
            facets.kept("a", at.plus_ms(KEPT_MS)).is_none() && facets.kept("a", at.plus_ms(-1)).is_none()
        );
        for n in 0..2 * MOST_KEPT {
            facets.keep(n.to_string(), at, &counts);
        }
        assert!(facets.0.lock().unwrap().len() <= MOST_KEPT);
    }
}
