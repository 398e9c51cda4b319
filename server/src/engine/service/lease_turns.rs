//! Turns of ready runs: many runs of one tag do not delay the runs of other tags.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Result, Service};
use crate::core::Run;
use crate::core::run::FairnessKey;
use crate::ports::Head;

/// Maximum number of keys that have a turn in one lease, and that are read at a time.
const MAX_KEYS: u32 = 32;
/// Maximum number of lists of queues whose turns a node remembers.
const MAX_LISTS: usize = 1_000;

/// The keys that have the next turns, for each list of queues. A node that has forgotten them begins with the first key,
/// so the turns need no storage.
#[derive(Debug, Default)]
pub struct LeaseTurns(Mutex<BTreeMap<Vec<String>, Rotation>>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Rotation {
    /// Keys that were read, and have not had their turn yet.
    upcoming: VecDeque<FairnessKey>,
    /// The last key that was read. `None`: after the upcoming keys, the first key follows.
    last: Option<FairnessKey>,
}

impl LeaseTurns {
    /// Takes at most `most` upcoming keys. Returns also the last key that was read.
    fn take(&self, queues: &[String], most: usize) -> (Vec<FairnessKey>, Option<FairnessKey>) {
        let mut lists = self.lists();
        let Some(Rotation { upcoming, last }) = lists.get_mut(queues) else { return (Vec::new(), None) };
        (upcoming.drain(..most.min(upcoming.len())).collect(), last.clone())
    }

    fn put(&self, queues: &[String], rotation: Rotation) {
        let mut lists = self.lists();
        lists.remove(queues);
        if lists.len() >= MAX_LISTS {
            lists.pop_first();
        }
        if rotation != Rotation::default() {
            lists.insert(queues.to_vec(), rotation);
        }
    }

    fn lists(&self) -> MutexGuard<'_, BTreeMap<Vec<String>, Rotation>> {
        // A panic between two changes only loses turns.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys that were read together.
struct KeyPage {
    keys: Vec<FairnessKey>,
    /// Whether no other key has ready runs.
    are_all: bool,
}

impl Service {
    /// Returns ready runs of the queues in turn by key, the `limit` earliest ones among them. If more runs are ready,
    /// the first runs are those of up to `wanted` keys whose turn it is.
    pub(super) async fn ready_in_turn(
        &self,
        queues: &[String],
        limit: u32,
        wanted: u32,
    ) -> Result<Head<Run>> {
        let store = &self.shared.ports.store;
        let Head { rows: earliest, more } = store.ready_runs(queues, limit).await?;
        if !more {
            return Ok(Head { rows: in_turn(earliest), more });
        }
        let keys = self.next_keys(queues, wanted).await?;
        if keys.is_empty() {
            return Ok(Head { rows: earliest, more });
        }
        let each = limit.div_ceil(keys.len() as u32);
        let first = in_turn(store.ready_runs_of(&keys, each).await?);
        Ok(Head { rows: followed_by(first, earliest), more })
    }

    /// Returns up to `wanted` keys whose turn it is. Returns none if all ready runs have one key. Calls at once get
    /// different keys, unless they read them at the same time.
    async fn next_keys(&self, queues: &[String], wanted: u32) -> Result<Vec<FairnessKey>> {
        let turns = &self.shared.turns;
        let most = wanted.min(MAX_KEYS) as usize;
        let (mut keys, last) = turns.take(queues, most);
        if keys.len() == most {
            return Ok(keys);
        }
        let KeyPage { keys: read, are_all } = self.key_page(queues, last.as_ref()).await?;
        if are_all && read.len() < 2 {
            turns.put(queues, Rotation::default());
            return Ok(Vec::new());
        }
        let last = read.last().filter(|_| !are_all).cloned();
        let mut upcoming: VecDeque<_> = read.into_iter().filter(|key| !keys.contains(key)).collect();
        let missing = most - keys.len();
        keys.extend(upcoming.drain(..missing.min(upcoming.len())));
        turns.put(queues, Rotation { upcoming, last });
        Ok(keys)
    }

    /// Reads the keys after `last`. The first key follows the last one.
    async fn key_page(&self, queues: &[String], last: Option<&FairnessKey>) -> Result<KeyPage> {
        let store = &self.shared.ports.store;
        let mut keys = store.ready_keys(queues, last, MAX_KEYS).await?;
        let missing = MAX_KEYS - keys.len() as u32;
        if let Some(last) = last.filter(|_| missing > 0) {
            let first = store.ready_keys(queues, None, missing).await?;
            keys.extend(first.into_iter().take_while(|key| key <= last));
        }
        let are_all = keys.len() < MAX_KEYS as usize;
        Ok(KeyPage { keys, are_all })
    }
}

/// Orders runs by turns: the first run of each key, then the second one of each key, and so on. The runs of one turn
/// keep their order.
fn in_turn(runs: Vec<Run>) -> Vec<Run> {
    let mut counts = HashMap::<_, usize>::new();
    let numbers = runs.iter().map(|Run { queue, tag, .. }| {
        let count = counts.entry((queue, tag)).or_default();
        *count += 1;
        *count
    });
    let numbers: Vec<usize> = numbers.collect();
    let mut numbered: Vec<(usize, Run)> = numbers.into_iter().zip(runs).collect();
    numbered.sort_by_key(|(turn, _)| *turn);
    numbered.into_iter().map(|(_, run)| run).collect()
}

/// Returns the first runs, and then those of the others that are not among them.
fn followed_by(first: Vec<Run>, others: Vec<Run>) -> Vec<Run> {
    let known: HashSet<_> = first.iter().map(|run| run.id.clone()).collect();
    let others = others.into_iter().filter(|run| !known.contains(&run.id));
    first.into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::submission::Submission;
    use crate::core::{Moment, TaskId};

    const DUE: Moment = Moment::from_ms(0);

    fn run(queue: &str, tag: &str, n: u128) -> Run {
        let id = TaskId::new(uuid::Uuid::from_u128(n));
        let named = Submission { queue: Some(queue.to_owned()), ..Submission::named(tag, n.to_string()) };
        Run::firing(&named.accept(id, DUE).unwrap(), DUE, "node", "token".to_owned(), DUE)
    }

    fn numbers(runs: &[Run]) -> Vec<&str> {
        runs.iter().map(|run| run.data.as_str()).collect()
    }

    #[test]
    fn keys_take_turns_in_the_order_of_their_runs() {
        let many = (0..5).map(|n| run("many", "many", n));
        let others = [run("two", "two", 5), run("one", "one", 6), run("two", "two", 7)];
        let runs = in_turn(many.chain(others).collect());
        assert_eq!(numbers(&runs), ["0", "5", "6", "1", "7", "2", "3", "4"]);
        assert_eq!(numbers(&in_turn(runs.clone())), numbers(&runs), "the order is stable");
        assert!(in_turn(Vec::new()).is_empty());
    }

    #[test]
    fn a_tag_of_two_queues_has_two_keys() {
        let runs = [run("a", "t", 0), run("a", "t", 1), run("b", "t", 2), run("a", "u", 3)];
        assert_eq!(numbers(&in_turn(runs.to_vec())), ["0", "2", "3", "1"]);
    }

    #[test]
    fn no_run_is_repeated() {
        let [a, b, c] = [run("a", "a", 0), run("b", "b", 1), run("c", "c", 2)];
        let runs = followed_by(vec![b.clone()], vec![a, b, c]);
        assert_eq!(numbers(&runs), ["1", "0", "2"]);
    }

    #[test]
    fn each_upcoming_key_is_taken_once() {
        let (turns, queues) = (LeaseTurns::default(), ["q".to_owned()]);
        let keys = ["a", "b", "c"].map(FairnessKey::of_queue);
        assert_eq!(turns.take(&queues, 2), (vec![], None));
        turns.put(&queues, Rotation { upcoming: keys.clone().into(), last: Some(keys[2].clone()) });
        assert_eq!(turns.take(&queues, 2), (keys[..2].to_vec(), Some(keys[2].clone())));
        assert_eq!(turns.take(&queues, 2), (keys[2..].to_vec(), Some(keys[2].clone())));
        assert_eq!(turns.take(&[], 2), (vec![], None), "another list");
        turns.put(&queues, Rotation::default());
        assert!(turns.lists().is_empty());
    }

    #[test]
    fn a_node_remembers_the_turns_of_a_bounded_number_of_lists() {
        let turns = LeaseTurns::default();
        let queues = |n: usize| vec![format!("queue {n:05}")];
        for n in 0..2 * MAX_LISTS {
            turns.put(&queues(n), Rotation { last: Some(FairnessKey::of_queue("q")), ..Rotation::default() });
        }
        assert_eq!(turns.lists().len(), MAX_LISTS);
        assert_eq!(turns.take(&queues(0), 9).1, None);
        assert_eq!(turns.take(&queues(2 * MAX_LISTS - 1), 9).1, Some(FairnessKey::of_queue("q")));
    }
}
