//! Times of day in words.

/// Half of a day, or another part of it, that a time of twelve hours belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    Morning,
    Afternoon,
}

/// Returns hour and minute, given the numbers as written and the half of the day, if the phrase names it.
pub fn clock(hour: &str, minute: &str, half: Option<Half>) -> Option<(u32, u32)> {
    let (hour, minute) = (number(hour)?, if minute.is_empty() { 0 } else { number(minute)? });
    let hour = match half {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(Half::Morning) => hour % 12,
        Some(Half::Afternoon) => hour % 12 + 12,
    };
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// Returns a number of one or two digits.
pub fn number(text: &str) -> Option<u32> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
