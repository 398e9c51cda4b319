//! Text of errors.

use std::error::Error;

/// Returns the text of an error and of all its causes, joined by colons.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}"))
}

/// Implements `Debug` by the text of the error and of its causes, because a program prints the
/// `Debug` form of the error that its `main` returns.
macro_rules! debug_as_text {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::error_text::with_causes(self))
            }
        }
    )+};
}
pub(crate) use debug_as_text;
