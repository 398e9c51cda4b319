//! Pages of the console, and pages of the lists of the API, in a store with much history.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{Client, redirect};
use taskcenter_client::resources::NewToken;
use taskcenter_client::{RunQuery, TaskCenter, TaskQuery};

use crate::figures::{Figures, percentile};

/// Requests of a page before the measured ones.
const WARM_UP: usize = 3;

/// Pages of the console. The words in braces are those of a task and a run of the store.
const CONSOLE: [&str; 29] = [
    "/",
    "/console/tasks",
    "/console/tasks?q=state:paused",
    "/console/tasks?q=name:order-7",
    "/console/tasks?q=label.team:pay",
    "/console/tasks?q=name:order-7+label.team:pay",
    "/console/tasks?before={middle}",
    "/console/tasks/{task}",
    "/console/runs",
    "/console/runs?q=state:dead",
    "/console/runs?q=state:ready",
    "/console/runs?q=tag:order-7",
    "/console/runs?q=tag:order-7+state:succeeded",
    "/console/runs?q=label.team:pay",
    "/console/runs?q=label.team:pay+state:dead",
    "/console/runs?q=tag:order-7+label.team:pay",
    "/console/runs?q=task:{task}",
    "/console/runs?q=task:{task}+tag:none",
    "/console/runs?before={place}",
    "/console/runs/{run}",
    "/console/dead-letters",
    "/console/dead-letters?q=tag:order-7",
    "/console/dead-letters?q=label.team:pay",
    "/console/operations",
    "/console/queues",
    "/console/workers",
    "/console/alerts",
    "/console/services",
    "/console/access",
];

/// Lists of the API.
const API: [&str; 16] = [
    "/v1/tasks?limit=50",
    "/v1/tasks?limit=50&state=paused",
    "/v1/tasks?limit=50&name=order-7",
    "/v1/tasks?limit=50&label.team=pay",
    "/v1/tasks?limit=50&cursor={middle}",
    "/v1/runs?limit=50",
    "/v1/runs?limit=50&state=dead",
    "/v1/runs?limit=50&tag=order-7",
    "/v1/runs?limit=50&tag=order-7&state=succeeded",
    "/v1/runs?limit=50&task_id={task}",
    "/v1/runs?limit=50&label.team=pay",
    "/v1/operations",
    "/v1/queues",
    "/v1/stat",
    "/v1/workers",
    "/v1/nodes",
];

/// Reads each page `count` times. The figures of a page begin with its path.
pub async fn read(client: &TaskCenter, url: &str, count: usize) -> Result<Figures> {
    let (reader, words) = (Reader::sign_in(client, url).await?, Words::find(client).await?);
    let mut figures = Figures::default();
    for pattern in CONSOLE.iter().chain(&API) {
        let path = words.fill(pattern);
        for _ in 0..WARM_UP {
            reader.read(&path).await?;
        }
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            reader.read(&path).await?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        for (name, fraction) in [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)] {
            figures = figures.with(&format!("{pattern} {name}"), percentile(&times, fraction));
        }
    }
    Ok(figures)
}

/// A person who has signed in.
struct Reader {
    client: Client,
    url: String,
    cookies: String,
}

impl Reader {
    async fn sign_in(client: &TaskCenter, url: &str) -> Result<Self> {
        let new =
            NewToken { name: "bench".to_owned(), scopes: vec!["admin".to_owned()], ..NewToken::default() };
        // Fails if another part of this process has installed the provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token = client.issue_token(&new).await?.token;
        let client = Client::builder().redirect(redirect::Policy::none()).build()?;
        let page = format!("{url}/console/sign-in");
        let form = client.get(&page).send().await?;
        let cookies = set_cookies(form.headers());
        let html = form.text().await?;
        let form_token =
            html.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let form_token = form_token.context("the sign-in page has no form")?;
        let body = format!("form_token={form_token}&token={token}");
        let answer = client.post(&page).header(COOKIE, &cookies);
        let answer =
            answer.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body).send().await?;
        ensure!(answer.status() == 303, "the sign-in was answered with {}", answer.status());
        let cookies = [cookies, set_cookies(answer.headers())].join("; ");
        Ok(Self { client, url: url.to_owned(), cookies })
    }

    /// Reads a whole page.
    async fn read(&self, path: &str) -> Result<()> {
        let answer =
            self.client.get(format!("{}{path}", self.url)).header(COOKIE, &self.cookies).send().await?;
        let status = answer.status();
        answer.bytes().await?;
        ensure!(status == 200, "{path} was answered with {status}");
        Ok(())
    }
}

fn set_cookies(headers: &HeaderMap) -> String {
    let set = headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
    set.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; ")
}

/// Words of the paths.
struct Words {
    task: String,
    run: String,
    place: String,
    middle: String,
}

impl Words {
    async fn find(client: &TaskCenter) -> Result<Self> {
        let query = RunQuery { state: Some("dead".to_owned()), limit: Some(1), ..RunQuery::default() };
        let run = client.list_runs(&query).await?.runs.pop().context("the store has no dead run")?;
        let name = Some("order-500".to_owned());
        let query = TaskQuery { name, limit: Some(1), ..TaskQuery::default() };
        let task = client.list_tasks(&query).await?.tasks.pop().context("the store has no task")?;
        let newest = client.list_tasks(&TaskQuery { limit: Some(1), ..TaskQuery::default() }).await?;
        let newest = newest.tasks.first().and_then(|task| u64::from_str_radix(&task.id, 16).ok());
        let middle = format!("{:032x}", newest.context("an id is not a number")? / 2);
        // An hour of a day with runs.
        let at = run.scheduled_at.as_millisecond() - 12 * 3_600_000;
        Ok(Self { place: format!("{at}.{}", run.run_id), run: run.run_id, task: task.id, middle })
    }

    fn fill(&self, pattern: &str) -> String {
        let words =
            [("task", &self.task), ("run", &self.run), ("place", &self.place), ("middle", &self.middle)];
        words
            .iter()
            .fold(pattern.to_owned(), |path, (word, value)| path.replace(&format!("{{{word}}}"), value))
    }
}
