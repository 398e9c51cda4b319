//! The filter line of a list: `tag:order.close state:dead`, kept in the URL.

use super::filter_line;
use super::html;
use super::search::MAX_EXAMINED;
use super::visit::Fields;
use super::words::{Words, fill};
use crate::core::labels::{self, Labels};

/// Key of a filter that allows labels, such as `label.team:pay`.
pub const LABEL: &str = "label.key";
/// Beginning of the key of a label.
const LABEL_PREFIX: &str = "label.";

/// A state that the list can be limited to.
pub struct Tab {
    pub href: String,
    pub label: String,
    /// Number of rows. Empty: unknown.
    pub count: String,
    pub is_current: bool,
}

/// A filter that is offered instead of the given one.
pub struct Offer {
    pub href: String,
    pub line: String,
}

/// Filter of a list.
pub struct Filter {
    /// Path of the list.
    pub path: &'static str,
    /// The line as a person has written it.
    pub line: String,
    /// The known keys.
    pub keys: &'static [&'static str],
    /// Why the line, or a part of it, is not applied.
    pub problem: Option<String>,
    /// Filters that do what the line cannot do.
    pub offers: Vec<Offer>,
    /// What is checked row by row, because no index serves it.
    pub note: Option<String>,
    pub tabs: Vec<Tab>,
    pairs: Vec<(String, String)>,
}

impl Filter {
    /// Reads the filter line `q`. `keys` are the known keys; a word without a key is a value of the first.
    pub fn read(path: &'static str, query: &Fields, keys: &'static [&'static str], t: &Words) -> Self {
        let line = query.get("q").unwrap_or_default().to_owned();
        let (offers, tabs, pairs) = (Vec::new(), Vec::new(), Vec::new());
        let mut filter = Self { path, line, keys, problem: None, offers, note: None, tabs, pairs };
        match filter_line::parse(&filter.line) {
            Ok(words) => words.into_iter().for_each(|word| filter.add(word, t)),
            Err(filter_line::OpenQuote) => filter.problem = Some(t.filter_open_quote.clone()),
        }
        filter.pairs.retain(|(_, value)| !value.is_empty());
        filter
    }

    fn add(&mut self, word: filter_line::Word, t: &Words) {
        let first = self.keys.first().copied().unwrap_or_default();
        let key = word.key.unwrap_or_else(|| first.to_owned());
        let is_label = self.keys.contains(&LABEL) && label_key(&key).is_some();
        if !is_label && !self.keys.contains(&key.as_str()) {
            let unknown = filter_line::write(&key, &word.value);
            self.problem = Some(fill(&t.filter_unknown, &[&unknown, &self.keys.join(", ")]));
            return;
        }
        self.pairs.retain(|(known, _)| *known != key);
        self.pairs.push((key, word.value));
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Returns the labels that must match. Notes and drops invalid ones.
    pub fn labels(&mut self) -> Labels {
        let labels =
            self.pairs.iter().filter_map(|(key, value)| Some((label_key(key)?.to_owned(), value.clone())));
        let labels: Labels = labels.collect();
        match labels::check(&labels) {
            Ok(()) => labels,
            Err(invalid) => {
                self.problem = Some(invalid.to_string());
                Labels::new()
            }
        }
    }

    /// Returns the value of a key as a whole name, or as the beginning of a name, such as `order.*`.
    pub fn name_or_prefix(&mut self, key: &str, t: &Words) -> (Option<String>, Option<String>) {
        let Some(value) = self.get(key).map(str::to_owned) else { return (None, None) };
        match value.split_once('*') {
            None => (Some(value), None),
            Some((prefix, "")) => (None, Some(prefix.to_owned())),
            Some(_) => {
                self.refuse(key, &format!("{key}:order.*"), t);
                (None, None)
            }
        }
    }

    /// Notes what is checked row by row: those of the keys that are, or the labels. A check of the tags of the reader
    /// needs no note.
    pub fn note_checks(&mut self, keys: &[(&str, bool)], t: &Words) {
        let is_checked = |key: &str| keys.iter().any(|(checked, is)| *is && *checked == key);
        let mut checked: Vec<&str> =
            self.pairs.iter().map(|(key, _)| key.as_str()).filter(|key| is_checked(key)).collect();
        let labels: Vec<&str> =
            self.pairs.iter().map(|(key, _)| key.as_str()).filter(|key| label_key(key).is_some()).collect();
        if checked.is_empty() {
            checked = labels;
        }
        if checked.is_empty() {
            return;
        }
        self.note = Some(fill(&t.filter_checks, &[&checked.join(", "), &html::count(MAX_EXAMINED as u64)]));
    }

    /// Notes a value that is not allowed, and drops it.
    pub fn refuse(&mut self, key: &str, allowed: &str, t: &Words) {
        let word = filter_line::write(key, self.get(key).unwrap_or_default());
        self.problem = Some(fill(&t.filter_unknown, &[&word, allowed]));
        self.pairs.retain(|(known, _)| known != key);
    }

    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Returns an example of each key.
    pub fn placeholder(&self) -> String {
        self.keys.iter().map(|key| format!("{key}:")).collect::<Vec<_>>().join(" ")
    }

    /// Offers the line with another value of a key.
    pub fn offer(&mut self, key: &str, value: Option<&str>) {
        let line = self.line_with(key, value);
        self.offers.push(Offer { href: href(self.path, &line, None), line });
    }

    /// Adds the tabs of the states, after the tab of all states.
    pub fn add_tabs<'a>(&mut self, all: &str, states: impl Iterator<Item = (&'static str, &'a str)>) {
        let current = self.get("state").map(str::to_owned);
        let tab = |state: Option<&'static str>, label: &str| Tab {
            href: self.href_with("state", state),
            label: label.to_owned(),
            count: String::new(),
            is_current: current.as_deref() == state,
        };
        let first = tab(None, all);
        let tabs = std::iter::once(first).chain(states.map(|(state, label)| tab(Some(state), label)));
        self.tabs = tabs.collect();
    }

    /// Returns the line with another value of a key.
    fn line_with(&self, key: &str, value: Option<&str>) -> String {
        let kept = self.pairs.iter().filter(|(known, _)| known != key);
        let mut words: Vec<String> = kept.map(|(key, value)| filter_line::write(key, value)).collect();
        words.extend(value.map(|value| filter_line::write(key, value)));
        words.join(" ")
    }

    /// Returns the path of the list with another value of a key.
    fn href_with(&self, key: &str, value: Option<&str>) -> String {
        href(self.path, &self.line_with(key, value), None)
    }

    /// Returns the path of the page that asks before an action on all rows that match.
    pub fn act_on_all(&self, action: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("action", action).append_pair("all", "1").append_pair("q", &self.line);
        format!("/console/operations/new?{}", query.finish())
    }

    /// Returns the path of the page of this list that begins at a place.
    pub fn page(&self, place: Option<&str>) -> String {
        href(self.path, &self.line, place)
    }
}

/// Returns the label of a key such as `label.team`.
fn label_key(key: &str) -> Option<&str> {
    key.strip_prefix(LABEL_PREFIX).filter(|label| !label.is_empty())
}

/// Returns the word that selects a label.
pub fn label_word(key: &str, value: &str) -> String {
    filter_line::write(&format!("{LABEL_PREFIX}{key}"), value)
}

/// Returns the path of a list with a filter line, and the place where the page begins.
pub fn href(path: &str, line: &str, before: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if !line.is_empty() {
        query.append_pair("q", line);
    }
    if let Some(before) = before {
        query.append_pair("before", before);
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::Lang;

    fn read(line: &str) -> Filter {
        let query = format!("q={}", form_urlencoded::byte_serialize(line.as_bytes()).collect::<String>());
        Filter::read("/x", &Fields::parse(query.as_bytes()), &["tag", "state", LABEL], Lang::En.words())
    }

    #[test]
    fn a_line_has_keys_and_values() {
        let filter = read(" order.close  state:dead ");
        assert_eq!((filter.get("tag"), filter.get("state")), (Some("order.close"), Some("dead")));
        assert_eq!(read("tag:a tag:b:c").get("tag"), Some("b:c"), "the last one counts");
        assert_eq!(read("tag: ").get("tag"), None);
        assert_eq!(read("\"a b\"").get("tag"), Some("a b"));
        assert!(
            read("since:2h").problem.is_some_and(|why| why.contains("since:2h") && why.contains("label.key"))
        );
        assert!(read("tag:\"a").problem.is_some_and(|why| why.contains("quote")));
    }

    #[test]
    fn labels_have_keys_of_their_own() {
        let mut filter = read("label.team:pay label.acme.com/region:\"eu 1\" label.key:x");
        let expected = [("acme.com/region", "eu 1"), ("key", "x"), ("team", "pay")];
        let expected: Labels = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!((filter.labels(), &filter.problem), (expected, &None));
        let mut wrong = read("label.Team:pay");
        assert!(wrong.labels().is_empty() && wrong.problem.is_some_and(|why| why.contains("Team")));
        assert!(read("label.:pay").problem.is_some());
    }

    #[test]
    fn links_keep_the_other_keys() {
        let mut filter = read("tag:a \"b c\" state:dead label.team:pay");
        filter.add_tabs("All", [("ready", "Ready")].into_iter());
        let hrefs: Vec<&str> = filter.tabs.iter().map(|tab| tab.href.as_str()).collect();
        let kept = "/x?q=tag%3A%22b+c%22+label.team%3Apay";
        assert_eq!(hrefs, [kept, &format!("{kept}+state%3Aready")]);
        assert!(filter.tabs.iter().all(|tab| !tab.is_current));
        filter.offer("state", Some("ready"));
        assert_eq!(filter.offers[0].line, "tag:\"b c\" label.team:pay state:ready");
        assert_eq!(href("/x", "", None), "/x");
    }
}
