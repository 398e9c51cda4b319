//! One list of the rows of several tags, latest first, for callers that are limited to tags.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;

use super::Result;
use crate::ports::MAX_RESULT_BYTES;

/// Rows of the first read of a tag. Each further read has twice as many, so that the list reads about twice as
/// many rows as it returns, and one row of each other tag.
const FIRST_READ: u32 = 1;

/// The rows of one tag that were read and not yet returned.
struct Part<'a, T, P> {
    tag: &'a String,
    rows: VecDeque<T>,
    before: Option<P>,
    next_read: u32,
    is_over: bool,
}

impl<T, P> Part<'_, T, P> {
    /// Adds the rows of a read. Only an empty read means that no more rows follow.
    fn add(&mut self, rows: Vec<T>, position: impl Fn(&T) -> P) {
        self.is_over = rows.is_empty();
        self.before = rows.last().map(position).or(self.before.take());
        self.next_read = self.next_read.saturating_mul(2);
        self.rows = rows.into();
    }
}

/// Returns at most `limit` rows of the tags, in descending order of their positions, and after `before`. `of`
/// returns the position of a row and the bytes of its payload: a list of large rows ends early. `read` lists
/// the rows of one tag.
///
/// # Errors
/// An error of `read`.
pub async fn merge<'a, T, P: Ord + Clone>(
    tags: &'a [String],
    limit: u32,
    before: Option<P>,
    of: impl Fn(&T) -> (P, usize),
    read: impl Fn(&'a String, u32, Option<P>) -> BoxFuture<'a, Result<Vec<T>>>,
) -> Result<Vec<T>> {
    let position = |row: &T| of(row).0;
    let part = |tag| Part {
        tag,
        rows: VecDeque::new(),
        before: before.clone(),
        next_read: FIRST_READ,
        is_over: false,
    };
    let mut parts: Vec<Part<'a, T, P>> = tags.iter().map(part).collect();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while rows.len() < limit as usize && bytes <= MAX_RESULT_BYTES {
        let wanted = limit - rows.len() as u32;
        for part in parts.iter_mut().filter(|part| part.rows.is_empty() && !part.is_over) {
            let more = read(part.tag, part.next_read.min(wanted), part.before.clone()).await?;
            part.add(more, position);
        }
        let latest = parts.iter_mut().max_by_key(|part| part.rows.front().map(position));
        let Some(row) = latest.and_then(|part| part.rows.pop_front()) else { break };
        bytes += of(&row).1;
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Merges lists of numbers. Returns the numbers, and how many were read.
    async fn merged(lists: &[(&str, &[u32])], limit: u32, before: Option<u32>) -> (Vec<u32>, usize) {
        let tags: Vec<String> = lists.iter().map(|(tag, _)| (*tag).to_owned()).collect();
        let read_rows = Cell::new(0);
        let rows = merge(
            &tags,
            limit,
            before,
            |number| (*number, 1),
            |tag, limit, before| {
                let (_, list) = lists.iter().find(|(of, _)| of == tag).unwrap();
                let rows = list.iter().copied().filter(|number| before.is_none_or(|before| *number < before));
                // A store may end a list of large rows early.
                let rows: Vec<u32> = rows.take(limit.min(3) as usize).collect();
                read_rows.set(read_rows.get() + rows.len());
                Box::pin(std::future::ready(Ok(rows)))
            },
        );
        (rows.await.unwrap(), read_rows.get())
    }

    #[tokio::test]
    async fn lists_are_merged_in_descending_order() {
        let lists: [(&str, &[u32]); 3] = [("a", &[9, 5, 1]), ("b", &[8, 7, 6, 4, 3, 2]), ("c", &[])];
        assert_eq!(merged(&lists, 100, None).await.0, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(merged(&lists, 4, Some(8)).await.0, [7, 6, 5, 4]);
        assert!(merged(&lists, 0, None).await.0.is_empty());
    }

    #[tokio::test]
    async fn few_rows_are_read_that_are_not_returned() {
        let long: Vec<u32> = (64..1_000).rev().collect();
        let names: Vec<String> = (0..64).map(|n| format!("t{n}")).collect();
        let rest: Vec<[u32; 1]> = (0..64).map(|n| [n]).collect();
        let mut lists: Vec<(&str, &[u32])> = vec![("long", &long)];
        lists.extend(names.iter().zip(&rest).map(|(name, rows)| (name.as_str(), &rows[..])));
        let (rows, read) = merged(&lists, 50, None).await;
        assert_eq!(rows, (950..1_000).rev().collect::<Vec<_>>());
        assert!(read <= 2 * 50 + 64, "{read} rows were read for 50");
    }

    #[tokio::test]
    async fn a_list_of_large_rows_ends_early() {
        let tags = ["a".to_owned()];
        let rows = merge(
            &tags,
            50,
            None,
            |row| (*row, MAX_RESULT_BYTES / 2),
            |_, limit, before| {
                let first = before.unwrap_or(100);
                let rows: Vec<u32> = (0..limit).map(|n| first - 1 - n).collect();
                Box::pin(std::future::ready(Ok(rows)))
            },
        );
        assert_eq!(rows.await.unwrap(), [99, 98, 97]);
    }
}
