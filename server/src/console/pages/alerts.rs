//! Alerts: what is raised, what has ended lately, silences, rules and channels.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Visit};
use super::super::words::fill;
use super::alert_rows::{AlertLine, ChannelLine, EndedLine, RuleLine, SilenceLine};

pub const PATH: &str = "/console/alerts";
/// Silences of the page. The API lists all of them.
const MOST_SILENCES: usize = 100;

#[derive(Template)]
#[template(path = "alerts.html")]
struct Page {
    f: Frame,
    /// Whether the reader may silence alerts and test channels.
    may_act: bool,
    problem: Option<String>,
    raised: Vec<AlertLine>,
    more: u64,
    ended: Vec<EndedLine>,
    silences: Vec<SilenceLine>,
    more_silences: u64,
    rules: Vec<RuleLine>,
    channels: Vec<ChannelLine>,
}

pub async fn show(visit: Visit) -> Response {
    let page = page(&visit, None).await;
    super::answer(&visit, page.map(|page| page.render()))
}

async fn page(visit: &Visit, problem: Option<String>) -> Result<Page> {
    let (service, lang) = (&visit.service, visit.lang);
    let found = service.alerts().await?;
    let mut silences = service.silences().await?;
    silences.sort_by(|one, other| (one.until, &one.id).cmp(&(other.until, &other.id)));
    let more_silences = silences.len().saturating_sub(MOST_SILENCES) as u64;
    let mut by_rule = BTreeMap::<String, u64>::new();
    for alert in &found.alerts {
        *by_rule.entry(alert.rule.clone()).or_default() += 1;
    }
    let rules = service.alert_rules().await?.0;
    let f = Frame::new(visit, Section::Alerts, &lang.words().alerts).api("/v1/alerts", &[]);
    // A live page would replace the answer to a test.
    let f = if problem.is_none() { f.live() } else { f };
    Ok(Page {
        may_act: f.rights.write && f.rights.all_tags,
        problem,
        more: (found.total - found.alerts.len()) as u64,
        silences: silences
            .into_iter()
            .take(MOST_SILENCES)
            .map(|silence| SilenceLine::new(silence, &found.alerts, lang))
            .collect(),
        raised: found.alerts.into_iter().map(|alert| AlertLine::new(alert, lang)).collect(),
        ended: found.resolved.into_iter().map(|alert| EndedLine::new(alert, lang)).collect(),
        more_silences,
        rules: rules.iter().map(|(measure, rule)| RuleLine::new(*measure, rule, &by_rule, lang)).collect(),
        channels: service
            .alert_channels()
            .await?
            .into_iter()
            .map(|status| ChannelLine::new(status, lang))
            .collect(),
        f,
    })
}

/// Sends a test message to a channel.
pub async fn test(SentForm(visit, fields): SentForm) -> Response {
    match tested(&visit, &fields).await {
        Ok(response) => response,
        Err(problem) => problem.answer(&visit),
    }
}

async fn tested(visit: &Visit, fields: &Fields) -> Result<Response> {
    let name = fields.get("channel").ok_or(Problem::NotFound)?;
    match visit.service.test_alert_channel(name).await? {
        Ok(()) => Ok(visit.redirect(&format!("{PATH}?done=alert_tested"))),
        Err(error) => {
            let why = fill(&visit.lang.words().alert_test_failed, &[name, &error]);
            Ok(visit.answer(StatusCode::OK, page(visit, Some(why)).await?.render()))
        }
    }
}
