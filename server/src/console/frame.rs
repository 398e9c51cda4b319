//! What all pages share: language, theme, menu, clock and the rights of the reader.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use super::cookies;
use super::copy_as::{self, Recipe, Shell};
use super::html::{self, Markup};
use super::refusals::Refusals;
use super::time;
use super::visit::{FORM_TOKEN, Theme, Visit};
use super::words::{Lang, Words};
use crate::core::Moment;
use crate::core::access::Scope;

/// Part of the console that the menu marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Overview,
    Tasks,
    Runs,
    DeadLetters,
    Operations,
    Alerts,
    Queues,
    Workers,
    Services,
    Calendars,
    Audit,
    Access,
    None,
}

/// A group of the menu.
pub struct MenuGroup<'a> {
    pub title: &'a str,
    pub items: Vec<MenuItem<'a>>,
}

/// A line of the menu.
pub struct MenuItem<'a> {
    pub href: &'static str,
    pub icon: &'static str,
    pub label: &'a str,
    pub is_current: bool,
}

/// An instant in a template, where values are references.
pub trait Instant {
    fn moment(&self) -> Moment;
}

impl Instant for Moment {
    fn moment(&self) -> Moment {
        *self
    }
}

impl<T: Instant> Instant for &T {
    fn moment(&self) -> Moment {
        (*self).moment()
    }
}

/// What the reader may do. The commands check again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Change tasks and runs.
    pub write: bool,
    /// See tokens and users.
    pub admin: bool,
    /// See all tags.
    pub all_tags: bool,
}

/// The frame of a page.
pub struct Frame {
    pub t: &'static Words,
    pub lang: Lang,
    pub theme: Option<Theme>,
    pub title: String,
    /// Pages above this one: label and path.
    pub crumbs: Vec<(String, String)>,
    /// Whether the script keeps the page up to date.
    pub is_live: bool,
    /// Events that the page follows: the query of their stream. Empty: the script asks for the page from time to
    /// time.
    pub events: String,
    /// Path of the API with the same content. Empty: none.
    pub api: String,
    pub now: Moment,
    pub zone_name: String,
    zone: TimeZone,
    /// Name of the token that the reader signed in with.
    pub signed_in: Option<String>,
    pub has_session: bool,
    pub rights: Rights,
    pub version: &'static str,
    /// What the texts to copy have in common.
    pub shell: Shell,
    /// Whether the texts to copy are shown at once.
    pub opens_copies: bool,
    /// Actions of the page as texts to copy.
    recipes: Vec<Recipe>,
    refusals: Refusals,
    /// Word of the last action.
    done: Option<String>,
    form_token: String,
    here: String,
    section: Section,
}

impl Frame {
    /// Creates the frame of a page.
    pub fn new(visit: &Visit, section: Section, title: &str) -> Self {
        let caller = visit.service.caller();
        let zone_name = visit.service.time_zone().to_owned();
        Self {
            t: visit.lang.words(),
            lang: visit.lang,
            theme: visit.theme,
            title: title.to_owned(),
            crumbs: Vec::new(),
            is_live: false,
            events: String::new(),
            api: String::new(),
            now: visit.service.now(),
            zone: visit.zone(),
            zone_name,
            signed_in: (!caller.name.is_empty()).then(|| caller.name.clone()),
            has_session: cookies::value(&visit.headers, cookies::SESSION_COOKIE).is_some(),
            rights: Rights {
                write: caller.grant.allows(Scope::TaskWrite),
                admin: caller.grant.allows(Scope::Admin) && !caller.grant.is_limited(),
                all_tags: !caller.grant.is_limited(),
            },
            version: env!("CARGO_PKG_VERSION"),
            shell: Shell { has_token: !caller.name.is_empty() },
            opens_copies: false,
            recipes: Vec::new(),
            refusals: visit.refusals.clone(),
            done: visit.query().get("done").map(str::to_owned),
            form_token: visit.form_token(),
            here: visit.uri.path_and_query().map_or("/", |here| here.as_str()).to_owned(),
            section,
        }
    }

    /// Marks the page as one that changes while it is shown.
    #[must_use]
    pub fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// Marks the page as one that changes with these events: kinds separated by commas, and further filters.
    #[must_use]
    pub fn events(mut self, kinds: &str, more: &[(&str, Option<&str>)]) -> Self {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.append_pair("kind", kinds);
        pairs.extend_pairs(more.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
        self.events = pairs.finish();
        self.live()
    }

    /// Sets the page that a change of language or theme opens. A page that answers to a form has its values in the
    /// fields, and not in its URL.
    #[must_use]
    pub fn at(mut self, path: &str, query: &[(&str, &str)]) -> Self {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(query.iter().filter(|(_, value)| !value.is_empty()));
        self.here = format!("{path}?{}", pairs.finish());
        self
    }

    /// Sets the path of the API with the same content.
    #[must_use]
    pub fn api(mut self, path: &str, query: &[(&str, Option<&str>)]) -> Self {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(query.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
        let query = pairs.finish();
        self.api = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        self
    }

    /// Adds actions of the page as texts to copy.
    #[must_use]
    pub fn with_recipes(mut self, recipes: impl IntoIterator<Item = Recipe>) -> Self {
        self.recipes.extend(recipes);
        self
    }

    /// Returns the view and the actions of the page as texts to copy.
    pub fn copies(&self) -> Vec<Cow<'_, Recipe>> {
        let view = (!self.api.is_empty()).then(|| copy_as::show(self.shell, &self.t.copy_view, &self.api));
        view.map(Cow::Owned).into_iter().chain(self.recipes.iter().map(Cow::Borrowed)).collect()
    }

    /// Adds a page above this one.
    #[must_use]
    pub fn below(mut self, label: &str, href: &str) -> Self {
        self.crumbs.push((label.to_owned(), href.to_owned()));
        self
    }

    /// Returns the groups of the menu. A page that the reader may not see is missing.
    pub fn menu(&self) -> Vec<MenuGroup<'_>> {
        let t = self.t;
        let item =
            |section, href, icon, label| MenuItem { href, icon, label, is_current: section == self.section };
        let first = vec![
            item(Section::Overview, "/", "home", &*t.overview),
            item(Section::Tasks, "/console/tasks", "list", &*t.tasks),
            item(Section::Runs, "/console/runs", "run", &*t.runs),
            item(Section::DeadLetters, "/console/dead-letters", "skull", &*t.dead_letters),
            item(Section::Operations, "/console/operations", "op", &*t.operations),
            item(Section::Calendars, "/console/calendars", "cal", &*t.calendars),
            item(Section::Alerts, "/console/alerts", "bell", &*t.alerts),
        ];
        let mut delivery = vec![
            item(Section::Queues, "/console/queues", "queue", &*t.queues),
            item(Section::Workers, "/console/workers", "node", &*t.workers_and_nodes),
        ];
        if self.rights.all_tags {
            delivery.push(item(Section::Services, "/console/services", "svc", &*t.services));
        }
        let mut groups =
            vec![MenuGroup { title: "", items: first }, MenuGroup { title: &t.delivery, items: delivery }];
        if self.rights.admin {
            let items = vec![
                item(Section::Audit, "/console/audit", "audit", &*t.audit),
                item(Section::Access, "/console/access", "key", &*t.access),
            ];
            groups.push(MenuGroup { title: &t.control, items });
        }
        groups
    }

    /// Returns the hidden fields of a form: its token, and the page to return to.
    pub fn hidden(&self) -> Markup {
        html::hidden(FORM_TOKEN, &self.form_token).and(&html::hidden("back", &self.here))
    }

    /// Returns an instant in the zone of the server.
    pub fn time(&self, at: impl Instant) -> Markup {
        html::instant(at.moment(), &self.zone, self.lang)
    }

    /// Returns the time of day of an instant in the zone of the server.
    pub fn clock(&self, at: impl Instant) -> Markup {
        html::clock(at.moment(), &self.zone)
    }

    /// Returns an instant in the zone of the server, as text.
    pub fn text(&self, at: Moment) -> String {
        time::date_time(at, &self.zone, self.lang).unwrap_or_else(|| at.to_string())
    }

    /// Returns the distance of an instant from now.
    pub fn ago(&self, at: impl Instant) -> Markup {
        html::distance(at.moment(), self.now, self.t)
    }

    pub fn other_lang(&self) -> Lang {
        match self.lang {
            Lang::En => Lang::Zh,
            Lang::Zh => Lang::En,
        }
    }

    /// Returns the theme after a switch. Without a choice, the script knows what the browser shows.
    pub fn other_theme(&self) -> &'static str {
        match self.theme {
            Some(Theme::Dark) => Theme::Light.as_str(),
            _ => Theme::Dark.as_str(),
        }
    }

    /// Returns a sentence for each parameter of the URL whose value is not allowed.
    pub fn refusals(&self) -> Vec<String> {
        self.refusals.describe(self.t)
    }

    /// Returns whether the script keeps the page up to date. The script needs status 200.
    pub fn follows(&self) -> bool {
        self.is_live && self.refusals.is_empty()
    }

    /// Returns the confirmation of the last action, if any.
    pub fn notice(&self) -> Option<&str> {
        let t = self.t;
        let word = match self.done.as_deref()? {
            "paused" => &t.done_paused,
            "resumed" => &t.done_resumed,
            "triggered" => &t.done_triggered,
            "cancelled" => &t.done_cancelled,
            "retried" => &t.done_retried,
            "run_cancelled" => &t.done_run_cancelled,
            "created" => &t.done_created,
            "existing" => &t.done_existing,
            "replaced" => &t.done_replaced,
            "aborted" => &t.done_aborted,
            "continued" => &t.done_continued,
            "saved" => &t.done_saved,
            "silenced" => &t.done_silenced,
            "calendar_saved" => &t.done_calendar_saved,
            "calendar_deleted" => &t.done_calendar_deleted,
            "unsilenced" => &t.done_unsilenced,
            "held" => &t.done_held,
            "released" => &t.done_released,
            "user_saved" => &t.done_user_saved,
            "user_removed" => &t.done_user_removed,
            "token_revoked" => &t.done_token_revoked,
            "alert_tested" => &t.done_alert_tested,
            _ => return None,
        };
        Some(word)
    }
}
