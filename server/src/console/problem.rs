//! Pages for requests that fail.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::Console;
use super::assets;
use super::frame::{Frame, Section};
use super::html as h;
use super::visit::{Segment, Visit, split};
use super::words::{Words, fill};
use crate::engine::service::{PortError, ServiceError};

/// Why there is no page.
#[derive(Debug)]
pub enum Problem {
    NotFound,
    /// The form lacks the token of the browser.
    ExpiredForm,
    /// The method is not one of the page.
    Method,
    /// A parameter of the page is missing or wrong: what to do.
    Malformed(String),
    /// A command failed.
    Service(ServiceError),
    /// A background computation failed.
    Internal(String),
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound => Self::NotFound,
            error => Self::Service(error),
        }
    }
}

/// Result of a handler.
pub type Result<T> = std::result::Result<T, Problem>;

#[derive(Template)]
#[template(path = "problem.html")]
struct Page<'a> {
    f: Frame,
    detail: String,
    is_serious: bool,
    request_id: &'a str,
}

impl Problem {
    /// Returns status, title and explanation.
    fn describe(&self, t: &Words) -> (StatusCode, String, String) {
        let page = |status, title: &str, detail: &str| (status, title.to_owned(), detail.to_owned());
        match self {
            Self::NotFound => page(StatusCode::NOT_FOUND, &t.problem_not_found_title, &t.problem_not_found),
            Self::ExpiredForm => page(StatusCode::FORBIDDEN, &t.problem_csrf_title, &t.problem_csrf),
            Self::Method => page(StatusCode::METHOD_NOT_ALLOWED, &t.problem_invalid_title, &t.problem_method),
            Self::Malformed(why) => page(StatusCode::BAD_REQUEST, &t.problem_invalid_title, why),
            Self::Service(ServiceError::Forbidden(why)) => {
                let detail = fill(&t.problem_forbidden, &[&why.to_string()]);
                (StatusCode::FORBIDDEN, t.problem_forbidden_title.clone(), detail)
            }
            Self::Service(ServiceError::Port(
                PortError::Unavailable(..) | PortError::Interrupted(..) | PortError::Full(..),
            )) => page(StatusCode::SERVICE_UNAVAILABLE, &t.problem_store_title, &t.problem_store),
            Self::Service(ServiceError::Port(_)) | Self::Internal(_) => {
                page(StatusCode::INTERNAL_SERVER_ERROR, &t.problem_internal_title, &t.problem_internal)
            }
            Self::Service(error) => page(StatusCode::CONFLICT, &t.problem_invalid_title, &error.to_string()),
        }
    }

    /// Returns the page of the problem.
    pub fn answer(&self, visit: &Visit) -> Response {
        let (status, title, detail) = self.describe(visit.lang.words());
        let is_serious = status.is_server_error();
        if is_serious {
            let error = match self {
                Self::Service(error) => error_chain(error),
                Self::Internal(cause) => cause.clone(),
                other => format!("{other:?}"),
            };
            tracing::error!(error, "page failed");
        }
        let request_id = if is_serious { visit.service.caller().request_id.as_str() } else { "" };
        let page = Page { f: Frame::new(visit, Section::None, &title), detail, is_serious, request_id };
        visit.answer(status, page.render())
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Answers to a page that does not exist.
pub async fn unknown_page(visit: Visit) -> Response {
    Problem::NotFound.answer(&visit)
}

/// Answers to a method that a page does not have.
pub async fn wrong_method(State(console): State<Console>, request: Request) -> Response {
    match split(request, &console).await {
        Ok((visit, _)) => Problem::Method.answer(&visit),
        Err(response) => response,
    }
}

/// Answers with a style sheet or script.
pub async fn asset(visit: Visit, Segment(name): Segment) -> Response {
    assets::answer(&name, &visit.headers).unwrap_or_else(|| Problem::NotFound.answer(&visit))
}
