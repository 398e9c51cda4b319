//! Lists of more than one page.

use clap::Args;

use super::exit::Failure;

/// Maximum number of rows that the server returns in one page.
pub const PAGE: u32 = 1_000;

/// Number of rows to list.
#[derive(Debug, Args)]
pub struct Paging {
    /// Maximum number of rows, at least 1.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List all rows, without a limit.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// A printed page: number of rows, and the cursor of the next page.
pub type PrintedPage = (usize, Option<String>);

impl Paging {
    /// Calls `print_page` with a row limit and a cursor until enough rows are printed.
    pub async fn print_pages(
        &self,
        mut print_page: impl AsyncFnMut(u32, Option<String>) -> Result<PrintedPage, Failure>,
    ) -> Result<Listed, Failure> {
        let (mut left, mut cursor, mut rows) = (if self.all { u32::MAX } else { self.limit }, None, 0);
        loop {
            let (printed, next) = print_page(left.min(PAGE), cursor).await?;
            rows += printed;
            // With --all there may be more than u32::MAX rows, so nothing is subtracted.
            left = if self.all { left } else { left.saturating_sub(printed as u32) };
            match next {
                Some(next) if left > 0 => cursor = Some(next),
                next => return Ok(Listed { rows, has_more: next.is_some() }),
            }
        }
    }
}

/// Summary of the pages that were printed.
pub struct Listed {
    rows: usize,
    has_more: bool,
}

impl Listed {
    /// Prints on standard error that the list of `what` is empty or incomplete.
    pub fn print_note(&self, what: &str) {
        if self.rows == 0 {
            eprintln!("no {what}");
        } else if self.has_more {
            eprintln!("there are more {what}: use --limit N or --all to see them");
        }
    }
}
