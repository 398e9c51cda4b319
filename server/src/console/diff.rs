//! Differences between two texts, line by line.

/// Maximum number of lines that are compared. The rest of a longer text counts as replaced.
const MAX_LINES: usize = 1_000;
/// Unchanged lines that are shown around a change.
const CONTEXT: usize = 3;

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffLine {
    /// Class of the style sheet: `add`, `del`, `ctx`, or `hunk` for lines that are left out.
    pub class: &'static str,
    pub text: String,
}

impl DiffLine {
    fn new(class: &'static str, text: &str) -> Self {
        Self { class, text: text.to_owned() }
    }
}

/// Returns what changes from one text to another. Two texts in JSON are compared with one member a line. Empty:
/// the texts are equal.
pub fn lines(before: &str, after: &str) -> Vec<DiffLine> {
    if before == after {
        return Vec::new();
    }
    let (before, after) = match (pretty(before), pretty(after)) {
        (Some(one), Some(other)) if one != other => (one, other),
        _ => (before.to_owned(), after.to_owned()),
    };
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    shorten(&compare(&before, &after))
}

fn pretty(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    serde_json::to_string_pretty(&value).ok()
}

fn compare(before: &[&str], after: &[&str]) -> Vec<DiffLine> {
    let same = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let (rest, other_rest) = (&before[same..], &after[same..]);
    let end = rest.iter().rev().zip(other_rest.iter().rev()).take_while(|(one, other)| one == other).count();
    let (old, new) = (&rest[..rest.len() - end], &other_rest[..other_rest.len() - end]);
    let mut lines: Vec<DiffLine> = before[..same].iter().map(|line| DiffLine::new("ctx", line)).collect();
    if old.len() > MAX_LINES || new.len() > MAX_LINES {
        lines.extend(old.iter().map(|line| DiffLine::new("del", line)));
        lines.extend(new.iter().map(|line| DiffLine::new("add", line)));
    } else {
        lines.extend(longest_common(old, new));
    }
    lines.extend(rest[rest.len() - end..].iter().map(|line| DiffLine::new("ctx", line)));
    lines
}

/// Compares by the longest common subsequence.
fn longest_common(old: &[&str], new: &[&str]) -> Vec<DiffLine> {
    let width = new.len() + 1;
    let mut common = vec![0_u16; (old.len() + 1) * width];
    for (at, line) in old.iter().enumerate().rev() {
        for (other_at, other) in new.iter().enumerate().rev() {
            let below = common[(at + 1) * width + other_at + 1];
            common[at * width + other_at] = if line == other {
                below + 1
            } else {
                common[(at + 1) * width + other_at].max(common[at * width + other_at + 1])
            };
        }
    }
    let (mut at, mut other_at, mut lines) = (0, 0, Vec::new());
    while at < old.len() || other_at < new.len() {
        let is_same = at < old.len() && other_at < new.len() && old[at] == new[other_at];
        let deletes = other_at == new.len()
            || at < old.len() && common[(at + 1) * width + other_at] >= common[at * width + other_at + 1];
        if is_same {
            lines.push(DiffLine::new("ctx", old[at]));
            (at, other_at) = (at + 1, other_at + 1);
        } else if deletes {
            lines.push(DiffLine::new("del", old[at]));
            at += 1;
        } else {
            lines.push(DiffLine::new("add", new[other_at]));
            other_at += 1;
        }
    }
    lines
}

/// Leaves out unchanged lines that are far from a change.
fn shorten(lines: &[DiffLine]) -> Vec<DiffLine> {
    let mut is_near = vec![false; lines.len()];
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.class != "ctx") {
        debug_assert_ne!(line.class, "hunk", "hunks are added here");
        let end = (at + CONTEXT + 1).min(lines.len());
        is_near[at.saturating_sub(CONTEXT)..end].fill(true);
    }
    let mut shown: Vec<DiffLine> = Vec::new();
    for (line, is_near) in lines.iter().zip(is_near) {
        if is_near {
            shown.push(line.clone());
        } else if shown.last().is_none_or(|last| last.class != "hunk") {
            shown.push(DiffLine::new("hunk", "…"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(before: &str, after: &str) -> String {
        let sign = |class| match class {
            "add" => '+',
            "del" => '-',
            "hunk" => '@',
            _ => ' ',
        };
        let shown =
            lines(before, after).into_iter().map(|line| format!("{}{}|", sign(line.class), line.text));
        shown.collect::<Vec<_>>().concat()
    }

    #[test]
    fn changed_lines_are_shown_with_their_context() {
        assert_eq!(text("a", "a"), "");
        assert_eq!(text("a\nb\nc", "a\nx\nc"), " a|-b|+x| c|");
        assert_eq!(text("1\n2\n3\n4\n5\n6\n7", "1\n2\n3\n4\n5\n6\n8"), "@…| 4| 5| 6|-7|+8|");
        assert_eq!(text("", "a"), "+a|");
        assert_eq!(text("a", ""), "-a|");
        assert_eq!(text("a\nb\nc\nd", "b\nd\ne"), "-a| b|-c| d|+e|");
    }

    #[test]
    fn json_is_compared_by_member() {
        assert_eq!(
            text(r#"{"id":7,"to":"a"}"#, r#"{"id":8,"to":"a"}"#),
            r#" {|-  "id": 7,|+  "id": 8,|   "to": "a"| }|"#
        );
        assert_eq!(
            text(r#"{"id":7}"#, r#"{ "id": 7 }"#),
            r#"-{"id":7}|+{ "id": 7 }|"#,
            "only the blanks differ"
        );
    }

    #[test]
    fn long_texts_are_not_compared_line_by_line() {
        let long =
            |word: &str| (0..=MAX_LINES).map(|at| format!("{word}{at}\n")).collect::<Vec<_>>().concat();
        assert_eq!(lines(&long("a"), &long("b")).len(), 2 * (MAX_LINES + 1));
    }
}
