//! Splits the output of a program into lines while it arrives.

/// Maximum length of a line, in bytes. A longer line is split. The log of a run has the same limit.
const LINE_BYTES: usize = crate::core::run_log::MAX_LINE_BYTES;

/// Output after the last line end.
#[derive(Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Adds output, and passes each complete line to `write`.
    pub fn push(&mut self, output: &[u8], mut write: impl FnMut(&str)) {
        for part in output.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(part);
            if self.partial.last() == Some(&b'\n') {
                self.partial.pop();
                write_split(&self.partial, &mut write);
                self.partial.clear();
            }
        }
        while self.partial.len() > LINE_BYTES {
            let rest = self.partial.split_off(boundary(&self.partial));
            write(&String::from_utf8_lossy(&self.partial));
            self.partial = rest;
        }
    }

    /// Passes the output after the last line end to `write`, if any.
    pub fn finish(self, mut write: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            write_split(&self.partial, &mut write);
        }
    }
}

fn write_split(mut line: &[u8], write: &mut impl FnMut(&str)) {
    while line.len() > LINE_BYTES {
        let (first, rest) = line.split_at(boundary(line));
        write(&String::from_utf8_lossy(first));
        line = rest;
    }
    write(&String::from_utf8_lossy(line));
}

/// Returns the end of the last whole character within the maximum length of a longer line.
fn boundary(line: &[u8]) -> usize {
    let starts_character = |at: &usize| line[*at] & 0b1100_0000 != 0b1000_0000;
    // A character has at most 4 bytes. Other bytes are split anywhere.
    (LINE_BYTES - 3..=LINE_BYTES).rev().find(starts_character).unwrap_or(LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut splitter) = (Vec::new(), LineSplitter::default());
        for part in parts {
            splitter.push(part, |line| lines.push(line.to_owned()));
        }
        splitter.finish(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_may_arrive_in_parts() {
        assert_eq!(split(&[b"a", b"b\n\nc", b"\nd"]), ["ab", "", "c", "d"]);
        assert!(split(&[]).is_empty() && split(&[b""]).is_empty());
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let long = "é".repeat(LINE_BYTES);
        for text in [long.clone(), format!("{long}\n"), format!("a{long}")] {
            let lines = split(&[text.as_bytes()]);
            assert_eq!(lines.concat(), text.trim_end());
            assert!(lines.iter().all(|line| line.len() <= LINE_BYTES), "{}", lines.len());
        }
    }
}
