//! Open pages of the console, as a browser keeps them: each follows its events, and reads itself again after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// Number of open pages.
const TABS: usize = 20;
/// The pages, in turn, with the events that each follows.
const PAGES: [(&str, &str); 4] = [
    ("/", "run,operation"),
    ("/console/tasks", "task,run"),
    ("/console/runs", "run"),
    ("/console/queues", "queue"),
];
/// Times of `server/src/console/static/live.js`.
const GAP: Duration = Duration::from_secs(1);
const BUSY_GAP: Duration = Duration::from_secs(2);
const BUSY_AFTER: usize = 5;
const SHARE: u32 = 4;
const LONGEST_GAP: Duration = Duration::from_secs(5);
const REFRESH: Duration = Duration::from_secs(10);

/// Open pages. They close when the value is dropped.
pub struct Tabs {
    tasks: JoinSet<()>,
    shown: Arc<AtomicUsize>,
}

impl Tabs {
    /// Opens the pages and their streams.
    pub async fn open(url: &str) -> Result<Self> {
        let shown = Arc::new(AtomicUsize::new(0));
        let mut tabs = Self { tasks: JoinSet::new(), shown: Arc::clone(&shown) };
        for (page, events) in PAGES.into_iter().cycle().take(TABS) {
            let tab = Tab::open(url, page, events, &shown).await.with_context(|| page.to_owned())?;
            tabs.tasks.spawn(tab.follow());
        }
        Ok(tabs)
    }

    /// Returns the number of pages that were read again.
    ///
    /// # Errors
    /// If a page was not read again, or has closed.
    pub fn refreshes(&mut self) -> Result<usize> {
        let refreshes = self.shown.load(Ordering::Relaxed).saturating_sub(TABS);
        ensure!(self.tasks.try_join_next().is_none(), "the server has closed the stream of a page");
        ensure!(refreshes >= TABS, "the pages were read again only {refreshes} times");
        Ok(refreshes)
    }
}

/// One open page.
struct Tab {
    client: Client,
    page: String,
    stream: reqwest::Response,
    shown: Arc<AtomicUsize>,
    /// When the last request for the page ended, and the time that it took.
    shown_at: Instant,
    cost: Duration,
    /// Requests in a row that an event caused while the request before was recent.
    in_row: usize,
}

impl Tab {
    async fn open(url: &str, page: &str, events: &str, shown: &Arc<AtomicUsize>) -> Result<Self> {
        // Tabs of one browser share its connections, and tabs of many people do not.
        let client = Client::new();
        let stream = client.get(format!("{url}/console/events")).query(&[("kind", events)]).send().await?;
        let mut tab = Self {
            client,
            page: format!("{url}{page}"),
            stream: stream.error_for_status()?,
            shown: Arc::clone(shown),
            shown_at: Instant::now(),
            cost: Duration::ZERO,
            in_row: 0,
        };
        tab.show().await?;
        Ok(tab)
    }

    async fn show(&mut self) -> Result<()> {
        let start = Instant::now();
        self.client.get(&self.page).send().await?.error_for_status()?.bytes().await?;
        self.shown.fetch_add(1, Ordering::Relaxed);
        self.shown_at = Instant::now();
        self.cost = start.elapsed();
        Ok(())
    }

    /// Follows the events until the stream ends.
    async fn follow(mut self) {
        let mut has_news = false;
        loop {
            let busy = if self.in_row > BUSY_AFTER { BUSY_GAP } else { GAP };
            let gap = busy.max((self.cost * SHARE).min(LONGEST_GAP));
            let at = self.shown_at + if has_news { gap } else { REFRESH };
            let chunk = tokio::select! {
                () = sleep_until(at.into()) => None,
                chunk = self.stream.chunk() => match chunk {
                    Ok(Some(chunk)) => Some(chunk),
                    Ok(None) | Err(_) => return,
                },
            };
            if let Some(chunk) = chunk {
                has_news |= has_change(&chunk);
                continue;
            }
            self.in_row = if has_news { self.in_row + 1 } else { 0 };
            has_news = false;
            if self.show().await.is_err() {
                return;
            }
        }
    }
}

/// Returns whether a part of a stream has another event than a sign of life. The parts of this server have whole
/// events.
fn has_change(chunk: &[u8]) -> bool {
    let text = String::from_utf8_lossy(chunk);
    text.lines().filter_map(|line| line.strip_prefix("event: ")).any(|kind| kind != "alive")
}
