//! What a page costs: the number of calls and of examined rows depends on the rows that it shows.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::adapters::memory::{MemoryRecords, MemoryStore};
use taskcenter_server::adapters::sqlite::explained;
use taskcenter_server::core::access::Scope;
use taskcenter_server::core::operation::COUNT_LIMIT;
use taskcenter_server::core::{Run, RunId, RunState, TaskId};
use taskcenter_server::engine::service::{AccessSettings, Required};
use taskcenter_server::ports::{Result, RunFilter, RunPage, Store};

use super::{Browser, PAGES, Shown, token};
use crate::http::{Server, Setup};
use crate::store::sqlite_large::large_directory;

/// Most calls of the store that a page makes: a page of 50 rows reads the rows in 4 parts, and one call counts
/// each tab.
const MOST_CALLS: usize = 24;
/// Most documents that a page examines for each row that it shows.
const MOST_EXAMINED: u64 = 50;
/// Most documents that a page examines if no index serves its filter: 50 for each row of a full page, and those of
/// the last read.
const MOST_SEARCHED: u64 = 50 * MOST_EXAMINED + 200;
/// Steps of SQLite's machine that open the indexes of the reads of a page, and that read one row of each.
const STEPS_TO_BEGIN: u64 = 5_000;
/// Steps of SQLite's machine that find one document, if need be by the entry of a label, and read all its columns.
const STEPS_OF_DOCUMENT: u64 = 60;
/// Fewest steps that examine a document: find the row, read a column, compare, and go on.
const FEWEST_STEPS_OF_DOCUMENT: u64 = 4;
/// Steps that read one entry of an index, such as a run in the strip of a task.
const STEPS_OF_ENTRY: u64 = 10;

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

/// Rows of a large store that pages are about.
struct Rows {
    /// A task with many runs, of which none is dead.
    busy: TaskId,
    run: RunId,
    dead: RunId,
}

impl Rows {
    async fn of(store: &dyn Store) -> Self {
        let first = async |filter: RunFilter| {
            let page = RunPage { limit: 1, before: None };
            store.list_runs(&filter, &page).await.unwrap().remove(0).id
        };
        let busy = TaskId::parse(&format!("{:032x}", 0)).unwrap();
        let run = first(RunFilter { task_id: Some(busy.clone()), ..RunFilter::default() }).await;
        let dead = first(RunFilter { state: Some(RunState::Dead), ..RunFilter::default() }).await;
        Self { busy, run, dead }
    }

    /// Returns every page whose rows an index finds.
    fn pages(&self) -> Vec<String> {
        let Self { busy, run, dead } = self;
        let lists = [
            ("tasks", ""),
            ("tasks", "state:paused"),
            ("tasks", "state:cancelled"),
            ("tasks", "name:rare"),
            ("tasks", "name:\"name 1\" state:paused"),
            ("tasks", "label.team:rare"),
            ("tasks", "label.team:pay state:paused"),
            ("runs", ""),
            ("runs", "state:dead"),
            ("runs", "state:leased"),
            ("runs", "tag:rare"),
            ("runs", "tag:\"tag 4\" state:dead"),
            ("runs", "label.team:pay state:dead"),
            ("runs", "since:1h"),
            ("dead-letters", ""),
            ("dead-letters", "tag:rare"),
            ("dead-letters", "label.team:rare"),
        ];
        let of_task = ["", "/edit", "/revisions", "/backfill", "/resume", "/trigger", "/cancel"];
        let others = ["/console/filter-words?path=/console/runs", "/console/palette?q=name"];
        let of_runs = [
            format!("/console/runs?q=task%3A{busy}"),
            format!("/console/runs?q=task%3A{busy}+state%3Adead"),
            format!("/console/runs/{run}"),
            format!("/console/runs/{dead}"),
            format!("/console/runs/{dead}/retry"),
            format!("/console/palette?q={busy}"),
        ];
        let pages = PAGES.into_iter().chain(others).map(str::to_owned).chain(of_runs);
        let of_task = of_task.map(|page| format!("/console/tasks/{busy}{page}"));
        pages.chain(of_task).chain(lists.map(|(list, line)| filtered(list, line))).collect()
    }

    /// Returns pages that count what an operation selects.
    fn counts() -> Vec<String> {
        let counts = ["action=pause&q=state%3Aactive", "action=redrive&q=tag%3A%22tag+3%22"];
        counts.map(|query| format!("/console/operations/new?{query}&all=1")).into()
    }

    /// Returns pages whose rows an index finds also for a reader that is limited to tags.
    fn limited_pages() -> Vec<String> {
        let lists = [("tasks", ""), ("tasks", "state:paused"), ("runs", ""), ("runs", "state:dead")];
        let lists = lists.map(|(list, line)| filtered(list, line));
        ["/", "/console/dead-letters", "/console/queues"]
            .map(str::to_owned)
            .into_iter()
            .chain(lists)
            .collect()
    }

    /// Returns pages whose rows are checked for a reader that is limited to tags.
    fn limited_searches(&self) -> Vec<String> {
        let of_task = format!("task:{}", self.busy);
        let lists = [("tasks", "label.team:rare"), ("runs", "label.team:rare"), ("runs", of_task.as_str())];
        lists.map(|(list, line)| filtered(list, line)).into()
    }

    /// Returns pages whose filter no index serves.
    fn searches(&self) -> Vec<String> {
        let lists = [
            ("tasks", "name:rar*".to_owned()),
            ("tasks", "name:rare label.team:pay".to_owned()),
            ("runs", "tag:rar*".to_owned()),
            ("runs", "error:nothing state:dead".to_owned()),
            ("runs", format!("task:{} tag:rare", self.busy)),
            ("runs", "tag:rare label.team:rare".to_owned()),
            ("dead-letters", "error:nothing".to_owned()),
        ];
        lists.map(|(list, line)| filtered(list, &line)).into()
    }
}

/// Returns the path of a list with a filter line.
fn filtered(list: &str, line: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("q", line).finish();
    format!("/console/{list}?{query}")
}

/// Returns the number of rows that a page shows, at least 1.
fn rows(shown: &Shown) -> u64 {
    shown.html.matches("<tr role=\"row\" data-key=").count().max(1) as u64
}

fn next(shown: &Shown) -> Option<String> {
    let link = shown.html.split("rel=\"next\" href=\"").nth(1)?;
    Some(link.split('"').next().unwrap().replace("&#38;", "&"))
}

/// Checks what each page and the page after each one examine. `measure` opens a page, and returns what the page has
/// examined. `most` returns the most that a page may examine.
async fn assert_cheap(
    pages: Vec<String>,
    measure: impl AsyncFn(&str) -> (u64, Shown),
    most: impl Fn(&Shown) -> u64,
) {
    let mut expensive = Vec::new();
    for path in pages {
        let mut path = Some(path);
        for _ in 0..2 {
            let Some(this) = path.take() else { break };
            let (examined, shown) = measure(&this).await;
            println!("{this}: {examined} for {} rows, at most {}", rows(&shown), most(&shown));
            path = next(&shown);
            if shown.status != 200 || examined > most(&shown) {
                expensive.push((this, shown.status, examined));
            }
        }
    }
    assert!(expensive.is_empty(), "{expensive:#?}");
}

/// The counts of the tabs are in the memory of the server: they end at 10,000 entries of an index for each tab.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_large_sqlite_store_examines_few_rows() {
    let dir = large_directory();
    let (store, steps) = explained::open_counted(dir.path(), Arc::new(SystemClock)).unwrap();
    let store = Arc::new(store);
    let rows_of = Rows::of(&*store).await;
    let test = async |server: &Server| {
        let [all, limited] = [Browser::new(server), Browser::new(server)];
        all.sign_in(&token(server, &[Scope::Admin], &[]).await.1).await;
        limited.sign_in(&token(server, &[Scope::TaskRead], &["rare", "name 0", "tag 3"]).await.1).await;
        let measure = async |browser: &Browser<'_>, path: &str| {
            browser.get(path).await;
            steps.store(0, Ordering::Relaxed);
            let shown = browser.get(path).await;
            (steps.load(Ordering::Relaxed), shown)
        };
        let marks = |shown: &Shown| shown.html.matches("<rect class=\"f-").count() as u64;
        let most = |shown: &Shown| {
            let of_rows = FEWEST_STEPS_OF_DOCUMENT * MOST_EXAMINED * rows(shown);
            STEPS_TO_BEGIN + of_rows + STEPS_OF_ENTRY * marks(shown)
        };
        let most_searched = |_: &Shown| STEPS_TO_BEGIN + STEPS_OF_DOCUMENT * MOST_SEARCHED;
        assert_cheap(rows_of.pages(), async |path| measure(&all, path).await, most).await;
        assert_cheap(rows_of.searches(), async |path| measure(&all, path).await, most_searched).await;
        let most_counted = |_: &Shown| STEPS_TO_BEGIN + STEPS_OF_ENTRY * COUNT_LIMIT;
        assert_cheap(Rows::counts(), async |path| measure(&all, path).await, most_counted).await;
        assert_cheap(Rows::limited_pages(), async |path| measure(&limited, path).await, most).await;
        let searches = rows_of.limited_searches();
        assert_cheap(searches, async |path| measure(&limited, path).await, most_searched).await;
    };
    let access = AccessSettings { required: Required::Always, ..AccessSettings::default() };
    let setup = Setup { console: true, access, ..Setup::default() };
    setup.with_server_on(store.clone(), store.clone(), test).await;
}

#[cfg(feature = "cluster")]
mod on_mongodb {
    use mongodb::Database;
    use mongodb::bson::{Bson, Document, doc};

    use taskcenter_server::core::{Moment, Task, TaskState};

    use super::*;
    use crate::store::Fixture as _;
    use crate::store::mongo::MongoFixture;
    use crate::store::samples::{PAST, ended, run_until, task};

    const TASKS: usize = 5_000;
    const RUNS: usize = 20_000;
    /// Rows that one call inserts.
    const AT_ONCE: usize = 1_000;
    /// Size of the profile of one page, in bytes. The oldest entries of a full profile are lost.
    const PROFILE_BYTES: i32 = 64 * 1024 * 1024;

    /// Fills a store like [`large_directory`], with fewer rows.
    async fn fill(store: &dyn Store) {
        let id = |n: usize| TaskId::parse(&format!("{n:032x}")).unwrap();
        let team = |n: usize| if n % 1_000 == 5 { "rare" } else { "pay" };
        let labels = |n| [("team".to_owned(), team(n).to_owned())].into();
        let task = |n: usize| Task {
            id: id(n),
            name: if n % 1_000 == 1 { "rare".to_owned() } else { format!("name {}", n % 10) },
            state: if n.is_multiple_of(100) { TaskState::Paused } else { TaskState::Active },
            labels: labels(n),
            ..task()
        };
        let tasks: Vec<Task> = (0..TASKS).map(task).collect();
        let run = |n: usize| {
            let of = if n.is_multiple_of(2) { 0 } else { n % TASKS };
            let next_due_at = Some(PAST.plus_ms(n as i64));
            let tag = if n % 1_000 == 1 { "rare".to_owned() } else { format!("tag {}", n % 10) };
            let run = run_until(&Task { next_due_at, ..tasks[of].clone() }, Moment::NEVER);
            let run = Run { tag, labels: labels(n), ..run };
            match n % 500 {
                7 => Run { state: RunState::Ready, queue: Some("q".to_owned()), ..run },
                n if n % 100 == 3 => Run { state: RunState::Dead, ..ended(run, PAST) },
                _ => Run { state: RunState::Succeeded, ..ended(run, PAST) },
            }
        };
        let runs: Vec<Run> = (0..RUNS).map(run).collect();
        for some in tasks.chunks(AT_ONCE) {
            assert!(store.insert_tasks(some.to_vec()).await.iter().all(Result::is_ok));
        }
        for some in runs.chunks(AT_ONCE) {
            store.insert_runs(some).await.unwrap();
        }
    }

    /// Returns the number of documents that the statements of a page have examined, and the page.
    async fn examined(db: &Database, browser: &Browser<'_>, path: &str) -> (u64, Shown) {
        let profile = db.collection::<Document>("system.profile");
        profile.drop().await.unwrap();
        let create = doc! { "create": "system.profile", "capped": true, "size": PROFILE_BYTES };
        db.run_command(create).await.unwrap();
        db.run_command(doc! { "profile": 2 }).await.unwrap();
        let shown = browser.get(path).await;
        db.run_command(doc! { "profile": 0 }).await.unwrap();
        let mut statements = profile.find(doc! {}).await.unwrap();
        let mut documents = 0;
        while statements.advance().await.unwrap() {
            let statement = statements.deserialize_current().unwrap();
            documents += match statement.get("docsExamined") {
                Some(Bson::Int32(n)) => u64::try_from(*n).unwrap(),
                Some(Bson::Int64(n)) => u64::try_from(*n).unwrap(),
                _ => 0,
            };
        }
        (documents, shown)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_page_of_a_large_mongodb_examines_few_documents() {
        let fixture = Box::new(MongoFixture::open().await);
        fill(&*fixture.one).await;
        let rows_of = Rows::of(&*fixture.one).await;
        let test = async |server: &Server| {
            let browser = Browser::new(server);
            let measure = async |path: &str| examined(fixture.one.database(), &browser, path).await;
            assert_cheap(rows_of.pages(), &measure, |shown| MOST_EXAMINED * rows(shown)).await;
            assert_cheap(rows_of.searches(), &measure, |_| MOST_SEARCHED).await;
            assert_cheap(Rows::counts(), &measure, |_| MOST_EXAMINED).await;
        };
        let setup = Setup { console: true, ..Setup::default() };
        setup.with_server_on(fixture.one(), fixture.records(), test).await;
        fixture.close().await;
    }
}
