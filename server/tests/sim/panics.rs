//! Records the panics of a history. Without a record they would go unnoticed: a spawned actor ends
//! silently, and the engine restarts its loops. No panic is expected.

use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// Panics of the history that this thread plays. A history stays on one thread.
    static HERE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Starts to record the panics of this thread.
pub fn start_recording() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !record(panic) {
                default(panic);
            }
        }));
    });
    HERE.with_borrow_mut(|here| *here = Some(Vec::new()));
}

/// Returns the recorded panics, and stops recording.
pub fn take_recorded() -> Vec<String> {
    HERE.take().unwrap_or_default()
}

fn record(panic: &PanicHookInfo<'_>) -> bool {
    HERE.with_borrow_mut(|here| {
        let Some(recorded) = here else { return false };
        recorded.push(panic.to_string());
        true
    })
}
