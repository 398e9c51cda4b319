//! Places where a test can make the process crash, wait or fail. A release build contains none of
//! them.

/// Marks a named place in the code. In a debug build, the environment variable `FAILPOINTS` defines
/// what happens there, in the syntax of the `fail` crate: `fire::inserted=3*off->return(abort)`
/// continues three times and then ends the process.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::execute($name);
    };
}

/// Executes the action of a place: an action of the `fail` crate, or `return(abort)`, which ends
/// the process immediately, like a crash.
#[cfg(debug_assertions)]
pub fn execute(name: &'static str) {
    let argument = || -> Option<String> {
        fail::fail_point!(name, |argument| argument);
        None
    };
    if argument().as_deref() == Some("abort") {
        std::process::abort();
    }
}

/// Proves that a release build contains no failpoint: a constant cannot contain a call.
#[cfg(not(debug_assertions))]
const _: () = {
    crate::failpoint!("nothing");
};
