//! What a page costs: the number of calls and of examined rows depends on the rows that it shows.

use std::sync::{Arc, Mutex};

use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::adapters::memory::{MemoryRecords, MemoryStore};
use taskcenter_server::core::Run;
use taskcenter_server::ports::{Result, Store};

use super::{Browser, PAGES};
use crate::http::{Server, Setup};

/// Most calls of the store that a page makes: a page of 50 rows reads the rows in 4 parts, and one call counts
/// each tab.
const MOST_CALLS: usize = 24;

/// Notes the calls of the store.
#[derive(Default)]
struct Calls(Mutex<Vec<&'static str>>);

#[async_trait::async_trait]
impl Plan for Calls {
    async fn request(&self, call: &'static str) -> Result<()> {
        self.0.lock().unwrap().push(call);
        Ok(())
    }

    async fn answer(&self, _: &'static str) -> Result<()> {
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

impl Calls {
    /// Returns the calls of one page.
    async fn of(&self, browser: &Browser<'_>, path: &str) -> Vec<&'static str> {
        self.0.lock().unwrap().clear();
        assert_eq!(browser.get(path).await.status, 200, "{path}");
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Stores tasks, each with a ready run. Returns the last one.
async fn fill(server: &Server, count: usize) -> (String, Run) {
    let mut last = None;
    for number in 0..count {
        let run = server.ready(&number.to_string()).await;
        last = Some((run.task_id.to_string(), run));
    }
    last.unwrap()
}

#[tokio::test]
async fn the_number_of_calls_of_a_page_does_not_grow_with_its_rows() {
    let calls = Arc::new(Calls::default());
    let plan = || Arc::clone(&calls) as Arc<dyn Plan>;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let store = Arc::new(Faulty::new(store, plan()));
    let setup = Setup { console: true, ..Setup::default() };
    let test = async |server: &Server| {
        let browser = Browser::new(server);
        let (task, run) = fill(server, 120).await;
        let mut pages: Vec<String> = PAGES.map(str::to_owned).to_vec();
        pages.extend([format!("/console/tasks/{task}"), format!("/console/runs/{}", run.id)]);
        for page in pages {
            let made = calls.of(&browser, &page).await;
            assert!(made.len() <= MOST_CALLS, "{page} makes {} calls: {made:?}", made.len());
        }
        let made = calls.of(&browser, "/console/tasks").await;
        assert_eq!(made.iter().filter(|call| **call == "recent_runs").count(), 1, "{made:?}");
    };
    setup.with_server_on(store, Arc::new(MemoryRecords::default()), test).await;
}
