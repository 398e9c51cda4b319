//! Panics of a history: a spawned actor that panics ends in silence, and the engine starts its loops again. None is expected.

use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// Those of the history that this thread plays: each has one thread, from its beginning to its end.
    static HERE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// From here on this thread's panics are kept.
pub fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !keep(panic) {
                usual(panic);
            }
        }));
    });
    HERE.with_borrow_mut(|here| *here = Some(Vec::new()));
}

/// What was kept; from here on panics are none of a history's.
pub fn end() -> Vec<String> {
    HERE.take().unwrap_or_default()
}

fn keep(panic: &PanicHookInfo<'_>) -> bool {
    HERE.with_borrow_mut(|here| {
        let Some(kept) = here else { return false };
        kept.push(panic.to_string());
        true
    })
}
