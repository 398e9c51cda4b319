//! The imports between source files form no circle, except between a module and its ancestors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::directions::{read_path, sources};

/// A module's path, such as `["engine", "service"]`. The crate's root is empty.
type Module = Vec<String>;

/// The source files of a crate.
struct Crate {
    /// The code of each module, without comments and tests.
    code: BTreeMap<Module, String>,
    /// Names that a module imports, with their paths. Child modules and other modules can use these names.
    imports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Crate {
    fn read(root: &Path) -> Self {
        let files = sources(root).into_iter().map(|path| {
            let text = std::fs::read_to_string(&path).expect("the source is text");
            let file = path.strip_prefix(root).expect("it lies below").with_extension("");
            (file.to_string_lossy().into_owned(), text)
        });
        Self::of(files)
    }

    /// Takes files without their extensions, each with its text.
    fn of(files: impl Iterator<Item = (String, String)>) -> Self {
        let files = files.filter(|(file, _)| !file.ends_with("tests"));
        let code = files.map(|(file, text)| (module_of(&file), code_of(&text)));
        let code: BTreeMap<Module, String> = code.collect();
        let imports = code.iter().map(|(module, code)| (module.clone(), imports_of(module, code))).collect();
        Self { code, imports }
    }

    /// The file that defines what the path names. Follows imports, such as `pub use`.
    fn file_of(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        // An import of a name from itself, such as a glob, ends after some steps.
        for _ in 0..8 {
            let length = (0..=path.len()).rev().find(|length| self.code.contains_key(&path[..*length]))?;
            let (module, rest) = (&path[..length], &path[length..]);
            let imported = rest.first().and_then(|name| self.imports.get(module)?.get(name));
            let Some(imported) = imported else { return Some(module.to_vec()) };
            path = imported.iter().chain(&rest[1..]).cloned().collect();
        }
        None
    }

    /// The files that each file imports from, without its ancestors and descendants.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let edges = self.code.iter().map(|(module, code)| {
            let targets = paths_in(module, code).into_iter().filter_map(|path| self.file_of(&path));
            let is_kin = |other: &Module| other.starts_with(module) || module.starts_with(other);
            (module, targets.filter(|other| !is_kin(other)).collect())
        });
        edges.collect()
    }

    /// The files that are part of a circle or lead from one circle to another, each with the others that
    /// it imports from.
    fn circles(&self) -> BTreeMap<String, Vec<String>> {
        let mut edges = self.edges();
        loop {
            let before = edges.len();
            let left: BTreeSet<Module> = edges.keys().map(|module| (*module).clone()).collect();
            edges.values_mut().for_each(|targets| targets.retain(|target| left.contains(target)));
            edges.retain(|_, targets| !targets.is_empty());
            let imported: BTreeSet<Module> = edges.values().flatten().cloned().collect();
            edges.retain(|module, _| imported.contains(*module));
            if edges.len() == before {
                break;
            }
        }
        let name = |module: &Module| module.join("::");
        edges.iter().map(|(module, targets)| (name(module), targets.iter().map(name).collect())).collect()
    }
}

/// `engine/service`, `engine/mod` and `lib` as modules.
fn module_of(file: &str) -> Module {
    let parts = file.split('/').map(str::to_owned);
    let mut module: Module = parts.collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// The code without comments, and without the tests at its end.
fn code_of(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The full path of one that begins with `crate`, `self` or `super`, or with a child module.
fn absolute(module: &Module, path: &str) -> Module {
    let mut base = module.clone();
    let mut parts: Vec<&str> = path.split("::").collect();
    while let Some(first) = parts.first() {
        match *first {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        parts.remove(0);
    }
    // `module::{self}` names the module.
    base.into_iter().chain(parts.into_iter().filter(|part| *part != "self").map(str::to_owned)).collect()
}

/// The paths in the code that begin with `crate`, `self` or `super`.
fn paths_in(module: &Module, code: &str) -> BTreeSet<Module> {
    let mut paths = BTreeSet::new();
    for head in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(head) {
            let is_start =
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$'));
            if is_start {
                read_path(&code[at..], "", &mut paths);
            }
        }
    }
    paths.iter().map(|path| absolute(module, path)).collect()
}

/// The names that a module imports from its children or by a path in this crate.
fn imports_of(module: &Module, code: &str) -> BTreeMap<String, Module> {
    let mut paths = BTreeSet::new();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default().trim_start();
        let path = &code[at + "use ".len()..];
        // A path that begins with `::` leads to another crate.
        if matches!(line, "" | "pub " | "pub(crate) " | "pub(super) ") && !path.starts_with("::") {
            read_path(path, "", &mut paths);
        }
    }
    let absolute = paths.iter().map(|path| absolute(module, path));
    absolute.filter_map(|path| Some((path.last()?.clone(), path))).collect()
}

#[test]
fn a_circle_is_found_through_paths_and_imports() {
    let files = [
        ("lib", "pub mod a;\npub mod b;\nmod c;\npub use c::C;"),
        ("a", "use crate::b::{inner::B as Other, *}; // crate::c"),
        ("b/mod", "pub mod inner;\nuse self::inner::B;"),
        ("b/inner", "use super::super::C; use super::x;\n#[cfg(test)]\nmod tests {\n use crate::a;\n}"),
        ("c", "pub struct C; fn f() { crate::a::f() }"),
    ];
    let sample = Crate::of(files.into_iter().map(|(file, text)| (file.to_owned(), text.to_owned())));
    let circles = sample.circles();
    let circle: Vec<(&str, &[String])> =
        circles.iter().map(|(file, targets)| (file.as_str(), targets.as_slice())).collect();
    let (a, b, c) = ("a".to_owned(), "b::inner".to_owned(), "c".to_owned());
    assert_eq!(circle, [("a", &[b][..]), ("b::inner", &[c][..]), ("c", &[a][..])]);
}

fn assert_no_circle(part: &str) {
    let source = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(part));
    assert!(source.code.len() > 10, "{part} has only {} files", source.code.len());
    let circles = source.circles();
    assert!(circles.is_empty(), "files of {part} import each other in a circle: {circles:#?}");
}

#[test]
fn the_files_of_the_server_form_no_circle() {
    assert_no_circle("server/src");
}

#[test]
fn the_files_of_the_sdk_form_no_circle() {
    assert_no_circle("client-sdk/src");
}

#[test]
fn the_files_of_the_load_generator_form_no_circle() {
    assert_no_circle("bench/src");
}

#[test]
fn the_files_of_xtask_form_no_circle() {
    assert_no_circle("xtask/src");
}
