//! Routes of the resource API with their OpenAPI document, and a viewer for the document.
//!
//! Add a route of `/v1` only here, so that every route is documented.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use taskcenter_client::resources::{Problem, ProblemQuota};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, PathItem, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, PROBLEM_JSON};
use super::query::Segment;
use super::{
    Context, access, alerts, audit, backfills, calendars, events, holds, nodes, operations, queues,
    revisions, run_logs, runs, schedule, schedule_preview, services, stat, tasks, tasks_by_key, tokens,
    users, work,
};

/// The viewer loads only files of this server.
const VIEWER_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Files of the viewer: name, content type, content.
const VIEWER: [(&str, &str, &str); 4] = [
    ("index.html", "text/html; charset=utf-8", include_str!("viewer/index.html")),
    ("viewer.js", "text/javascript; charset=utf-8", include_str!("viewer/viewer.js")),
    ("viewer.css", "text/css; charset=utf-8", include_str!("viewer/viewer.css")),
    ("icon.svg", "image/svg+xml", include_str!("viewer/icon.svg")),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "taskcenter",
        description = "Delayed and scheduled tasks. Instants are RFC 3339. Durations are whole milliseconds (`_ms`) or \
            seconds (`_sec`). A `null` field counts as absent. A request with an unknown field or query parameter is \
            refused. A length bound of a text counts bytes of UTF-8. Every error is a `Problem` with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "tasks", description = "Definitions: what to deliver, when, and how often."),
        (name = "runs", description = "Due moments of tasks, from fire to end, and their outcomes."),
        (name = "work", description = "Calls of workers that take runs from queues."),
        (name = "queues", description = "Queues and current counts."),
        (name = "holds", description = "Pauses of a queue or a tag."),
        (name = "events", description = "A stream of changes, for live views."),
        (name = "nodes", description = "Nodes of the server."),
        (name = "schedule", description = "Previews of cron expressions."),
        (name = "calendars", description = "Days and hours to which tasks limit their moments."),
        (name = "services", description = "Services that the callback worker calls."),
        (name = "operations", description = "Actions on many tasks or runs, with progress."),
        (name = "alerts", description = "Raised alerts, silences and channels."),
        (name = "tokens", description = "Access tokens."),
        (name = "audit", description = "Who changed what, and when."),
        (name = "users", description = "Users of the legacy APIs."),
        (name = "document", description = "This document.")
    ),
    components(schemas(Problem, ProblemQuota))
)]
struct Api;

/// Returns all routes of the resource API, with the document.
pub fn resources() -> OpenApiRouter<Context> {
    let mut resources = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(tasks::create, tasks::list))
        .routes(routes!(tasks::show, tasks::edit, tasks::delete))
        .routes(routes!(tasks::pause))
        .routes(routes!(tasks::resume))
        .routes(routes!(tasks_by_key::edit))
        .routes(routes!(tasks_by_key::cancel))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::trigger))
        .routes(routes!(backfills::create))
        .routes(routes!(revisions::list))
        .routes(routes!(revisions::show))
        .routes(routes!(runs::list))
        .routes(routes!(runs::show))
        .routes(routes!(runs::retry))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::confirm))
        .routes(routes!(runs::report))
        .routes(routes!(run_logs::append, run_logs::show))
        .routes(routes!(work::lease))
        .routes(routes!(work::renew))
        .routes(routes!(work::settle))
        .routes(routes!(operations::create, operations::list))
        .routes(routes!(operations::show))
        .routes(routes!(operations::abort))
        .routes(routes!(operations::resume))
        .routes(routes!(queues::list))
        .routes(routes!(queues::show))
        .routes(routes!(holds::add, holds::list))
        .routes(routes!(holds::remove))
        .routes(routes!(nodes::workers))
        .routes(routes!(nodes::nodes))
        .routes(routes!(services::put, services::list))
        .routes(routes!(services::show, services::delete))
        .routes(routes!(calendars::put, calendars::list))
        .routes(routes!(calendars::show, calendars::delete))
        .routes(routes!(stat::show))
        .routes(routes!(events::watch))
        .routes(routes!(schedule::next, schedule_preview::explain))
        .routes(routes!(schedule::absence))
        .routes(routes!(tokens::issue, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(users::set, users::list))
        .routes(routes!(users::delete))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::silence))
        .routes(routes!(alerts::unsilence))
        .routes(routes!(alerts::test))
        .routes(routes!(audit::list))
        .routes(routes!(document));
    let document = resources.get_openapi_mut();
    document.paths.paths.values_mut().flat_map(operations).for_each(describe_errors);
    access::describe(document);
    resources
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post, &mut path.patch, &mut path.delete].into_iter().flatten()
}

/// Gives every error response of an operation the body `Problem`, and adds the response for all
/// other errors.
fn describe_errors(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    let other = ResponseBuilder::new().description(
        "Any other error, such as 400 `invalid_field`, 401 `unauthorized` or 503 `store_unavailable`.",
    );
    responses.insert("default".to_owned(), RefOr::T(other.build()));
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        if status == "default" || status.starts_with(['4', '5']) {
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(problem));
        }
    }
}

/// Shows this OpenAPI document.
#[utoipa::path(get, path = "/v1/openapi.json", operation_id = "openapi", tag = "document",
    responses((status = 200, body = Object, description = "The OpenAPI document of the resource API.")))]
pub async fn document(State(context): State<Context>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], context.document.clone()).into_response()
}

/// `GET /docs`: redirects to the viewer.
pub async fn viewer() -> Redirect {
    Redirect::permanent("/docs/")
}

/// `GET /docs/`: the start page of the viewer.
pub async fn front_page() -> Result<Response, ApiError> {
    file("index.html")
}

/// `GET /docs/{*file}`: a file of the viewer.
pub async fn asset(Segment(path): Segment) -> Result<Response, ApiError> {
    file(&path)
}

fn file(path: &str) -> Result<Response, ApiError> {
    let file = VIEWER.iter().find(|(name, ..)| *name == path).ok_or(ApiError::NoRoute)?;
    let headers = [(header::CONTENT_TYPE, file.1), (header::CONTENT_SECURITY_POLICY, VIEWER_POLICY)];
    Ok((headers, file.2).into_response())
}
