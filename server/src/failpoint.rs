//! Places where a test can make the process die, hang or fail. In a release build each is nothing.

/// Marks a place by name. In a debug build the environment variable `FAILPOINTS` says what happens there, in the `fail` crate's
/// grammar: `fire::inserted=3*off->return(abort)` lets three pass and then ends the process.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::reach($name);
    };
}

/// Does what was set for a place: the `fail` crate's actions, and `return(abort)`, which ends the process at once as a crash would.
#[cfg(debug_assertions)]
pub fn reach(name: &'static str) {
    let told = || -> Option<String> {
        fail::fail_point!(name, |argument| argument);
        None
    };
    if told().as_deref() == Some("abort") {
        std::process::abort();
    }
}

/// A constant cannot hold a call: a release build in which a place were more than nothing would not compile.
#[cfg(not(debug_assertions))]
const _: () = {
    crate::failpoint!("nothing");
};
