//! One life of a node in this process: it ends at a failpoint as a process would, between two statements.
//!
//! What runs when the point is reached unwinds, and so does whatever else of that life comes to a failpoint or calls a port afterwards:
//! nothing of it has any further effect.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use async_trait::async_trait;
use taskcenter_server::adapters::fault::Plan;
use taskcenter_server::ports::Result;
use tokio_util::sync::CancellationToken;

use crate::points::POINTS;

/// What a life's end unwinds with.
pub struct Crash;

/// Where lives end, and how often they did.
pub struct Armed {
    pub point: &'static str,
    pub hits: AtomicU32,
    lots: Mutex<fastrand::Rng>,
    /// Lives that may end still in this story.
    left: AtomicU32,
}

/// Lives that end in one story at most: a node that dies at each of its writes never catches up with a loop.
const MOST: u32 = 40;

impl Armed {
    pub fn at(point: &'static str, seed: u64) -> Self {
        Self {
            point,
            hits: AtomicU32::new(0),
            lots: Mutex::new(fastrand::Rng::with_seed(seed)),
            left: AtomicU32::new(MOST),
        }
    }

    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Another story begins.
    pub fn set(&self) {
        self.left.store(MOST, Ordering::Relaxed);
    }

    /// Lives end there no more.
    pub fn disarm(&self) {
        self.left.store(0, Ordering::Relaxed);
    }

    /// Not at each visit: so every one of a story's visits is the last one at some time.
    fn falls(&self, name: &str) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        let falls = name == self.point && left > 0 && guard(&self.lots).u32(..3) < 2;
        self.left.store(left.saturating_sub(u32::from(falls)), Ordering::Relaxed);
        self.hits.fetch_add(u32::from(falls), Ordering::Relaxed);
        falls
    }
}

/// A node's life.
pub struct Life {
    pub dead: CancellationToken,
    armed: Arc<Armed>,
    overtaken: Arc<Overtaken>,
}

/// Lets somebody else's change come between a trigger's row and its second look at the task.
#[derive(Default)]
pub struct Overtaken {
    pub is_wanted: AtomicBool,
    pub is_held: AtomicBool,
}

impl Overtaken {
    fn reached(&self, name: &str) {
        if name == "trigger::inserted" && self.is_wanted.swap(false, Ordering::Relaxed) {
            self.is_held.store(true, Ordering::Relaxed);
        }
    }
}

impl Life {
    pub fn new(armed: Arc<Armed>, overtaken: Arc<Overtaken>) -> Self {
        Self { dead: CancellationToken::new(), armed, overtaken }
    }

    fn reached(&self, name: &str) {
        if self.dead.is_cancelled() {
            end();
        }
        self.overtaken.reached(name);
        if self.armed.falls(name) {
            self.dead.cancel();
            end();
        }
    }

    async fn turn(&self) {
        while self.overtaken.is_held.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        if self.dead.is_cancelled() {
            end();
        }
    }
}

fn end() -> ! {
    std::panic::resume_unwind(Box::new(Crash))
}

/// The gate at every port of a life.
#[async_trait]
impl Plan for Life {
    async fn request(&self, _: &'static str) -> Result<()> {
        self.turn().await;
        Ok(())
    }

    async fn answer(&self, _: &'static str) -> Result<()> {
        self.turn().await;
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

thread_local! {
    /// Whose code runs on this thread: each history has a thread of its own.
    static HERE: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}
/// Whose code the writing thread of SQLite runs: there is one such history.
static WRITING: Mutex<Option<Arc<Life>>> = Mutex::new(None);

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on this thread runs that life's code, and with `writes` SQLite's thread does.
pub fn begin(life: &Arc<Life>, writes: bool) {
    HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(life)));
    if writes {
        *guard(&WRITING) = Some(Arc::clone(life));
    }
}

/// Sets every failpoint to ask the life that reaches it.
pub fn watch_failpoints() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for point in POINTS {
            let name = point.name;
            fail::cfg_callback(name, move || reached(name)).expect("the failpoint can be set");
        }
    });
}

fn reached(name: &'static str) {
    let here = HERE.with(|here| here.borrow().clone());
    let life = here.or_else(|| name.starts_with("sqlite::").then(|| guard(&WRITING).clone()).flatten());
    if let Some(life) = life {
        life.reached(name);
    }
}
