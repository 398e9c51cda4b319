//! What is measured: the product, a part below it, or another system.

use std::path::PathBuf;

use anyhow::Result;

use crate::bench::build::Programs;
use crate::bench::figures::Figures;
use crate::bench::interrupt::Interrupt;
use crate::bench::work::{Sizes, Work};

/// One call of the benchmark.
pub struct Session {
    /// Directory of all files of the benchmark.
    pub dir: PathBuf,
    /// The release programs.
    pub programs: Programs,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// Amounts of work.
    pub sizes: Sizes,
}

/// A system that does works.
pub trait Subject {
    /// Name in the table.
    fn title(&self) -> String;
    /// What an acknowledged write survives.
    fn durability(&self) -> String;
    /// Works that the subject can do.
    fn works(&self) -> &'static [Work];
    /// Whether the subject is this product.
    fn is_product(&self) -> bool {
        false
    }
    /// Does one work, in a state as after the installation or with pending tasks.
    fn measure(&mut self, work: Work) -> Result<Figures>;
}

/// The subjects of a mode.
#[derive(Default)]
pub struct Subjects<'a> {
    /// The subjects that this machine can measure. All others are compared with the first one.
    pub measured: Vec<Box<dyn Subject + 'a>>,
    /// Names of the other subjects, each with the reason and what to do.
    pub omitted: Vec<(String, String)>,
}

impl<'a> Subjects<'a> {
    /// Adds a subject.
    pub fn push(&mut self, subject: impl Subject + 'a) {
        self.measured.push(Box::new(subject));
    }

    /// Omits a subject, and prints the reason.
    pub fn omit(&mut self, title: &str, error: &anyhow::Error) {
        eprintln!("{title} is not measured: {error:#}");
        self.omitted.push((title.to_owned(), format!("{error:#}")));
    }
}
