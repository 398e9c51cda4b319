//! Parameters of a URL whose values are not allowed. The page says so, and its status is 400.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::words::{Words, fill};

#[derive(Debug)]
struct Refusal {
    name: &'static str,
    value: String,
    allowed: String,
}

/// The refused parameters of one request. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<Vec<Refusal>>>);

impl Refusals {
    /// Adds a parameter with the values that it allows. A page may read a parameter twice.
    pub fn add(&self, name: &'static str, value: &str, allowed: &str) {
        let mut refused = self.lock();
        if refused.iter().all(|refusal| refusal.name != name) {
            refused.push(Refusal { name, value: value.to_owned(), allowed: allowed.to_owned() });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns a sentence for each refused parameter.
    pub fn describe(&self, t: &Words) -> Vec<String> {
        let sentence =
            |refusal: &Refusal| fill(&t.parameter_refused, &[&refusal.value, refusal.name, &refusal.allowed]);
        self.lock().iter().map(sentence).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
