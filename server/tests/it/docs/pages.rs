//! The Markdown pages of the repository: their links, code blocks and code spans.

use std::path::{Path, PathBuf};

/// Directory of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace exists")
}

/// One Markdown file.
pub struct Page {
    /// Path relative to the workspace.
    pub name: String,
    pub text: String,
}

/// A fenced code block.
pub struct Block {
    /// Text after the opening fence, such as `json` or `rust,no_run`.
    pub language: String,
    pub code: String,
}

impl Page {
    pub fn read(name: &str) -> Self {
        let path = workspace().join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// Every page of the repository.
    pub fn all() -> Vec<Self> {
        let mut names = Vec::new();
        collect(&workspace(), &mut names);
        names.sort();
        let root = workspace();
        let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
        names.iter().map(|path| Self::read(&relative(path))).collect()
    }

    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for line in self.text.lines() {
            match (line.strip_prefix("```"), open.as_mut()) {
                (Some(language), None) => {
                    open = Some(Block { language: language.to_owned(), code: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => {
                    block.code.push_str(line);
                    block.code.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a code block has no end", self.name);
        blocks
    }

    /// Code of the blocks in `language`.
    pub fn code(&self, language: &str) -> Vec<String> {
        self.blocks().into_iter().filter(|block| block.language == language).map(|block| block.code).collect()
    }

    /// Lines outside code blocks.
    pub fn prose(&self) -> String {
        let mut in_block = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            let fence = line.starts_with("```");
            in_block ^= fence;
            if !in_block && !fence {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }

    /// Contents of the inline code spans.
    pub fn spans(&self) -> Vec<String> {
        self.prose().split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Prose without the contents of inline code spans.
    pub fn words(&self) -> String {
        self.prose().split('`').step_by(2).collect::<Vec<_>>().join(" ")
    }

    /// Targets of the links.
    pub fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let links = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        links.map(str::to_owned).collect()
    }

    /// Anchors of the headings, as GitHub generates them.
    pub fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn collect(directory: &Path, pages: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of the workspace is readable") {
        let path = entry.expect("a directory entry is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}
