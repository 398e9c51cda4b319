//! Lists longer than one answer.

use clap::Args;

use super::exit::Failure;

/// Most rows of one answer.
const PAGE: u32 = 1_000;

/// How much of a list is wanted.
#[derive(Debug, Args)]
pub struct Paging {
    /// Rows at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them, however many.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// What a page held: its rows, and where the next one begins.
pub type Shown = (usize, Option<String>);

impl Paging {
    /// Shows page after page, as many as are wanted: `show` is told how many rows, and where they begin.
    pub async fn walk(
        &self,
        mut show: impl AsyncFnMut(u32, Option<String>) -> Result<Shown, Failure>,
    ) -> Result<Walked, Failure> {
        let (mut left, mut cursor, mut rows) = (if self.all { u32::MAX } else { self.limit }, None, 0);
        loop {
            let (shown, next) = show(left.min(PAGE), cursor).await?;
            rows += shown;
            // Someone who wants all of them can have more than can be counted down.
            left = if self.all { left } else { left.saturating_sub(shown as u32) };
            match next {
                Some(next) if left > 0 => cursor = Some(next),
                next => return Ok(Walked { rows, has_more: next.is_some() }),
            }
        }
    }
}

/// What was shown.
pub struct Walked {
    rows: usize,
    has_more: bool,
}

impl Walked {
    /// Says on standard error what a table cannot: that it is empty, or not all.
    pub fn tell(&self, what: &str) {
        if self.rows == 0 {
            eprintln!("no {what}");
        } else if self.has_more {
            eprintln!("there are more {what}: --limit N or --all shows them");
        }
    }
}
