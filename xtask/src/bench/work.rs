//! The works and their amounts.

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Work {
    /// Create one task a request, 64 requests at once
    CreateOne,
    /// Create 100 tasks a request, 4 requests at once
    CreateMany,
    /// Create tasks that are due now, and handle their runs
    Run,
    /// The same, with a concurrency limit that leaves room
    RunOneLimit,
    /// The same, with two concurrency limits that leave room
    RunTwoLimits,
    /// 20,000 tasks are due in one millisecond
    Burst,
    /// The same, while 20 pages of the console are open
    BurstWatched,
    /// 500 tasks a second are due: how late each stage is, as p50, p99 and p99.9
    Steady,
    /// One-shot tasks beside 10,000 tasks that are due every second: how late they are
    Crowd,
    /// Read pages of 100 tasks and of 100 runs
    List,
    /// Read each page of the console and of the lists of the API, in a store with `--pending` tasks and `--runs`
    /// runs
    Pages,
}

/// Due tasks a second of the steady work.
pub const RATE: usize = 500;

impl Work {
    /// All works, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::CreateOne,
        Self::CreateMany,
        Self::Run,
        Self::RunOneLimit,
        Self::RunTwoLimits,
        Self::Burst,
        Self::BurstWatched,
        Self::Steady,
        Self::Crowd,
        Self::List,
        Self::Pages,
    ];
    /// The works that a product with pending tasks can do.
    pub const OF_PRODUCT: [Self; 7] = [
        Self::CreateOne,
        Self::CreateMany,
        Self::Run,
        Self::Burst,
        Self::BurstWatched,
        Self::Steady,
        Self::List,
    ];
    /// The works that need no pending tasks.
    pub const WITHOUT_PENDING: [Self; 9] = [
        Self::CreateOne,
        Self::CreateMany,
        Self::Run,
        Self::RunOneLimit,
        Self::RunTwoLimits,
        Self::Burst,
        Self::BurstWatched,
        Self::Steady,
        Self::Crowd,
    ];
    /// The works that need no pending tasks, over the bus. Limits need outcome reports, which the consumer on the bus does not
    /// send.
    pub const OVER_BUS: [Self; 7] = [
        Self::CreateOne,
        Self::CreateMany,
        Self::Run,
        Self::Burst,
        Self::BurstWatched,
        Self::Steady,
        Self::Crowd,
    ];
    /// The works that other systems can do.
    pub const OF_PEERS: [Self; 5] = [Self::CreateOne, Self::CreateMany, Self::Run, Self::Burst, Self::Steady];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateOne => "create-one",
            Self::CreateMany => "create-many",
            Self::Run => "run",
            Self::RunOneLimit => "run-one-limit",
            Self::RunTwoLimits => "run-two-limits",
            Self::Burst => "burst",
            Self::BurstWatched => "burst-watched",
            Self::Steady => "steady",
            Self::Crowd => "crowd",
            Self::List => "list",
            Self::Pages => "pages",
        }
    }
}

/// Amounts of work.
pub struct Sizes {
    quick: bool,
}

impl Sizes {
    /// Amounts of a full or of a quick benchmark.
    pub fn new(quick: bool) -> Self {
        Self { quick }
    }

    /// Returns the number of tasks or pages of a work.
    pub fn count(&self, work: Work) -> usize {
        let (full, quick) = match work {
            Work::CreateOne
            | Work::Burst
            | Work::BurstWatched
            | Work::Run
            | Work::RunOneLimit
            | Work::RunTwoLimits => (20_000, 2_000),
            Work::CreateMany => (100_000, 10_000),
            Work::Steady => (20 * RATE, 3 * RATE),
            Work::Crowd => (10_000, 500),
            Work::List => (400, 100),
            Work::Pages => (200, 20),
        };
        if self.quick { quick } else { full }
    }
}
