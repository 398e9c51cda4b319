//! Create, change and remove a user.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::frame::Frame;
use super::super::html as h;
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Visit};
use super::access::{PATH, UserLine, frame, require_admin, role_word, tags_of};
use super::confirm::Confirm;
use super::field_text::Refusal;
use super::field_time::{read_time, whole_seconds, write_time};
use crate::core::access::Role;
use crate::core::user::{ExpiryChange, InvalidUser, RoleChange, Target, UserChange};
use crate::engine::service::{ServiceError, User};

const NO_ROLE: &str = "none";

#[derive(Template)]
#[template(path = "user_form.html")]
struct Page {
    f: Frame,
    target: Target,
    name: String,
    role: String,
    /// One tag per line.
    tags: String,
    is_senior: bool,
    /// In the zone of the server. Empty: never.
    expires: String,
    /// What the field had before a person changed it.
    expires_before: String,
    refusal: Option<Refusal>,
}

impl Page {
    fn new(visit: &Visit, target: Target, user: User) -> Self {
        let t = visit.lang.words();
        let title = if target == Target::New { &t.user_new } else { &t.user_edit };
        let expires = user.expires_at.map(|at| write_time(at, &visit.zone())).unwrap_or_default();
        let (role, tags) = user.console.map(|console| (console.role, console.tags)).unzip();
        Self {
            f: frame(visit, title),
            target,
            name: user.name,
            role: role.map_or(NO_ROLE, Role::as_str).to_owned(),
            tags: tags.unwrap_or_default().join("\n"),
            is_senior: user.senior,
            expires_before: expires.clone(),
            expires,
            refusal: None,
        }
    }

    /// Returns the form as it was sent.
    fn of(visit: &Visit, target: Target, fields: &Fields) -> Self {
        let field = |name| fields.get(name).unwrap_or_default().to_owned();
        let user = User { senior: fields.get("senior").is_some(), ..new_user(&field("name")) };
        let (expires, expires_before) = (field("expires"), field("expires_before"));
        let (role, tags) = (field("role"), field("tags"));
        Self { role, tags, expires, expires_before, ..Self::new(visit, target, user) }
    }

    fn is_new(&self) -> bool {
        self.target == Target::New
    }

    fn path(&self) -> String {
        format!("{PATH}/users/{}", if self.is_new() { "new" } else { "edit" })
    }

    fn is_wrong(&self, field: &str) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.field == field)
    }

    /// Returns the roles with their words.
    fn roles(&self) -> [(&'static str, &str); 4] {
        [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)]
            .map(|role| (role.map_or(NO_ROLE, Role::as_str), role_word(role, self.f.t)))
    }
}

fn new_user(name: &str) -> User {
    User { name: name.to_owned(), senior: false, console: None, expires_at: None }
}

/// Shows the form for a new user.
pub async fn new(visit: Visit) -> Response {
    let page = require_admin(&visit).map(|()| Page::new(&visit, Target::New, new_user("")).render());
    super::answer(&visit, page)
}

/// Shows the form for a user.
pub async fn edit(visit: Visit) -> Response {
    let user = stored(&visit, &visit.query()).await;
    let page = user.map(|user| Page::new(&visit, Target::Existing, user).render());
    super::answer(&visit, page)
}

/// Returns the user that a query names.
async fn stored(visit: &Visit, query: &Fields) -> Result<User> {
    let name = query.raw("name").unwrap_or_default();
    let users = visit.service.users().await?;
    users.into_iter().find(|user| user.name == name).ok_or(Problem::NotFound)
}

/// Creates the user.
pub async fn create(form: SentForm) -> Response {
    send(form, Target::New).await
}

/// Changes the user.
pub async fn save(form: SentForm) -> Response {
    send(form, Target::Existing).await
}

async fn send(SentForm(visit, fields): SentForm, target: Target) -> Response {
    match saved(&visit, &fields, target).await {
        Ok(Ok(())) => visit.redirect(&format!("{PATH}?done=user_saved")),
        Ok(Err(refusal)) => {
            let page = Page { refusal: Some(refusal), ..Page::of(&visit, target, &fields) };
            visit.answer(StatusCode::UNPROCESSABLE_ENTITY, page.render())
        }
        Err(problem) => problem.answer(&visit),
    }
}

/// Saves the user, or returns why the form is refused.
async fn saved(visit: &Visit, fields: &Fields, target: Target) -> Result<std::result::Result<(), Refusal>> {
    let change = match read(visit, fields, target) {
        Ok(change) => change,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match visit.service.set_user(&change).await {
        Ok(_) => Ok(Ok(())),
        Err(ServiceError::User(invalid)) => Ok(Err(refused(&invalid))),
        Err(error) => Err(error.into()),
    }
}

fn refused(invalid: &InvalidUser) -> Refusal {
    Refusal { field: invalid.field(), why: invalid.to_string() }
}

/// Reads a form, which has every field but the password.
fn read(visit: &Visit, fields: &Fields, target: Target) -> std::result::Result<UserChange, Refusal> {
    let role =
        RoleChange::parse(fields.get("role").unwrap_or_default()).map_err(|invalid| refused(&invalid))?;
    // A password may begin or end with white space.
    let password = fields.raw("password").filter(|password| !password.is_empty());
    Ok(UserChange {
        name: fields.raw("name").unwrap_or_default().to_owned(),
        target,
        password: password.map(str::to_owned),
        senior: Some(fields.get("senior").is_some()),
        role: Some(role),
        tags: Some(tags_of(fields.get("tags").unwrap_or_default())),
        expires_at: expiry(visit, fields)?,
    })
}

/// Reads the expiry. `None`: the field has not changed, so that an expired user can be edited.
fn expiry(visit: &Visit, fields: &Fields) -> std::result::Result<Option<ExpiryChange>, Refusal> {
    let text = |name| whole_seconds(fields.get(name).unwrap_or_default().to_owned());
    let (expires, before) = (text("expires"), text("expires_before"));
    if expires == before {
        return Ok(None);
    }
    let at = read_time("expires_at", &expires, &visit.zone(), visit.lang.words())?;
    Ok(Some(at.map_or(ExpiryChange::Never, ExpiryChange::At)))
}

/// Shows the page that asks before the removal of a user.
pub async fn ask_remove(visit: Visit) -> Response {
    let user = stored(&visit, &visit.query()).await;
    super::answer(&visit, user.map(|user| asked(&visit, user).render()))
}

fn asked(visit: &Visit, user: User) -> Confirm {
    let t = visit.lang.words();
    let user = UserLine::new(user, t);
    let mut facts = vec![(t.user_name.clone(), user.name.clone()), (t.role.clone(), user.role)];
    facts.extend((!user.tags.is_empty()).then(|| (t.tags.clone(), user.tags)));
    Confirm {
        f: frame(visit, &t.user_remove),
        path: format!("{PATH}/users/remove"),
        hidden: h::hidden("name", &user.name),
        facts,
        effect: t.user_remove_effect.clone(),
        leaves: t.user_remove_leaves.clone(),
        label: t.user_remove.clone(),
        is_danger: true,
        back: PATH.to_owned(),
        problem: None,
    }
}

/// Removes the user.
pub async fn remove(SentForm(visit, fields): SentForm) -> Response {
    match visit.service.remove_user(fields.raw("name").unwrap_or_default()).await {
        Ok(_) => visit.redirect(&format!("{PATH}?done=user_removed")),
        Err(error) => Problem::from(error).answer(&visit),
    }
}
