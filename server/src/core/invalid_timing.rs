//! The error of a rule about moments.

/// A field that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}: use a value between {least} and {most}")]
pub struct InvalidTiming {
    /// Name of the field, such as `misfire.grace_ms`.
    pub field: &'static str,
    /// Its value.
    pub value: i64,
    /// Smallest valid value.
    pub least: i64,
    /// Largest valid value.
    pub most: i64,
}

impl InvalidTiming {
    /// Checks an optional value.
    ///
    /// # Errors
    /// The value is not between `least` and `most`.
    pub fn check(field: &'static str, value: Option<i64>, least: i64, most: i64) -> Result<(), Self> {
        match value {
            Some(value) if !(least..=most).contains(&value) => Err(Self { field, value, least, most }),
            _ => Ok(()),
        }
    }
}
