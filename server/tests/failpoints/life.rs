//! One life of a node in this process. It ends at a failpoint between two statements, as a process
//! would.
//!
//! The code that reaches the failpoint unwinds. Afterwards, all code of that life unwinds at its
//! next failpoint or port call, so that the life has no further effect.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use async_trait::async_trait;
use taskcenter_server::adapters::fault::Plan;
use taskcenter_server::ports::Result;
use tokio_util::sync::CancellationToken;

use crate::points::POINTS;

/// Panic payload of a simulated death.
pub struct Crash;

/// Failpoint at which lives end, with its counters.
pub struct Armed {
    pub point: &'static str,
    pub hits: AtomicU32,
    rng: Mutex<fastrand::Rng>,
    /// Remaining deaths in this story.
    left: AtomicU32,
}

/// Maximum number of deaths in one story: a node that dies at every write would never finish.
const MAX_DEATHS: u32 = 40;

impl Armed {
    pub fn at(point: &'static str, seed: u64) -> Self {
        Self {
            point,
            hits: AtomicU32::new(0),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            left: AtomicU32::new(MAX_DEATHS),
        }
    }

    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Resets the remaining deaths for the next story.
    pub fn rearm(&self) {
        self.left.store(MAX_DEATHS, Ordering::Relaxed);
    }

    /// Prevents further deaths.
    pub fn disarm(&self) {
        self.left.store(0, Ordering::Relaxed);
    }

    /// Draws whether a life ends here. It does at two of three visits, so that each visit of a
    /// story is sometimes the last one.
    fn should_die(&self, name: &str) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        let dies = name == self.point && left > 0 && guard(&self.rng).u32(..3) < 2;
        self.left.store(left.saturating_sub(u32::from(dies)), Ordering::Relaxed);
        self.hits.fetch_add(u32::from(dies), Ordering::Relaxed);
        dies
    }
}

/// One life of a node.
pub struct Life {
    pub dead: CancellationToken,
    armed: Arc<Armed>,
    interleaving: Arc<Interleaving>,
}

/// Interleaves a change of another node between the row of a trigger and its second read of the
/// task.
#[derive(Default)]
pub struct Interleaving {
    pub is_requested: AtomicBool,
    pub is_blocked: AtomicBool,
}

impl Interleaving {
    fn on_reached(&self, name: &str) {
        if name == "trigger::inserted" && self.is_requested.swap(false, Ordering::Relaxed) {
            self.is_blocked.store(true, Ordering::Relaxed);
        }
    }
}

impl Life {
    pub fn new(armed: Arc<Armed>, interleaving: Arc<Interleaving>) -> Self {
        Self { dead: CancellationToken::new(), armed, interleaving }
    }

    fn on_reached(&self, name: &str) {
        if self.dead.is_cancelled() {
            die();
        }
        self.interleaving.on_reached(name);
        if self.armed.should_die(name) {
            self.dead.cancel();
            die();
        }
    }

    async fn wait_for_turn(&self) {
        while self.interleaving.is_blocked.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        if self.dead.is_cancelled() {
            die();
        }
    }
}

fn die() -> ! {
    std::panic::resume_unwind(Box::new(Crash))
}

/// Every port call of a dead life unwinds.
#[async_trait]
impl Plan for Life {
    async fn request(&self, _: &'static str) -> Result<()> {
        self.wait_for_turn().await;
        Ok(())
    }

    async fn answer(&self, _: &'static str) -> Result<()> {
        self.wait_for_turn().await;
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

thread_local! {
    /// Life whose code runs on this thread. Each ledger has its own thread.
    static HERE: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}
/// Life whose code runs on SQLite's writing and flushing threads. Only one ledger uses SQLite at a time.
static WRITER: Mutex<Option<Arc<Life>>> = Mutex::new(None);

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Assigns this thread to a life, and with `writes` also SQLite's writing and flushing threads.
pub fn begin(life: &Arc<Life>, writes: bool) {
    HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(life)));
    if writes {
        *guard(&WRITER) = Some(Arc::clone(life));
    }
}

/// Connects every failpoint to the life that reaches it.
pub fn watch_failpoints() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for point in POINTS {
            let name = point.name;
            fail::cfg_callback(name, move || on_reached(name)).expect("the failpoint is set");
        }
    });
}

fn on_reached(name: &'static str) {
    let here = HERE.with(|here| here.borrow().clone());
    let life = here.or_else(|| name.starts_with("sqlite::").then(|| guard(&WRITER).clone()).flatten());
    if let Some(life) = life {
        life.on_reached(name);
    }
}
