//! The filter line of a list: `tag:order.close state:dead`, kept in the URL.

use super::visit::Fields;
use super::words::{Words, fill};

/// A state that the list can be limited to.
pub struct Tab {
    pub href: String,
    pub label: String,
    pub is_current: bool,
}

/// Filter of a list.
pub struct Filter {
    /// Path of the list.
    pub path: &'static str,
    /// The line as a person has written it.
    pub line: String,
    pub placeholder: &'static str,
    /// Why the line, or a part of it, is not applied.
    pub problem: Option<String>,
    pub tabs: Vec<Tab>,
    pairs: Vec<(String, String)>,
}

impl Filter {
    /// Reads the filter line `q`. `keys` are the known keys; a word without a key is a value of the first.
    pub fn read(
        path: &'static str,
        query: &Fields,
        keys: &'static [&'static str],
        placeholder: &'static str,
        t: &Words,
    ) -> Self {
        let line = query.get("q").unwrap_or_default().to_owned();
        let (mut pairs, mut problem) = (Vec::new(), None);
        for word in line.split_whitespace() {
            let pair = match word.split_once(':') {
                Some((key, value)) if keys.contains(&key) => (key.to_owned(), value.to_owned()),
                None => (keys.first().copied().unwrap_or_default().to_owned(), word.to_owned()),
                Some(_) => {
                    problem = Some(fill(&t.filter_unknown, &[word, &keys.join(", ")]));
                    continue;
                }
            };
            pairs.retain(|(key, _)| *key != pair.0);
            pairs.push(pair);
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Self { path, line, placeholder, problem, tabs: Vec::new(), pairs }
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Notes a value that is not allowed, and drops it.
    pub fn refuse(&mut self, key: &str, allowed: &str, t: &Words) {
        let word = format!("{key}:{}", self.get(key).unwrap_or_default());
        self.problem = Some(fill(&t.filter_unknown, &[&word, allowed]));
        self.pairs.retain(|(known, _)| known != key);
    }

    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Adds the tabs of the states, after the tab of all states.
    pub fn add_tabs<'a>(&mut self, all: &str, states: impl Iterator<Item = (&'static str, &'a str)>) {
        let current = self.get("state").map(str::to_owned);
        let tab = |state: Option<&'static str>, label: &str| Tab {
            href: self.href_with("state", state),
            label: label.to_owned(),
            is_current: current.as_deref() == state,
        };
        let first = tab(None, all);
        let tabs = std::iter::once(first).chain(states.map(|(state, label)| tab(Some(state), label)));
        self.tabs = tabs.collect();
    }

    /// Returns the path of the list with another value of a key.
    fn href_with(&self, key: &str, value: Option<&str>) -> String {
        let kept = self.pairs.iter().filter(|(known, _)| known != key);
        let mut words: Vec<String> = kept.map(|(key, value)| format!("{key}:{value}")).collect();
        words.extend(value.map(|value| format!("{key}:{value}")));
        href(self.path, &words.join(" "), None)
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
        Filter::read("/x", &Fields::parse(query.as_bytes()), &["tag", "state"], "", Lang::En.words())
    }

    #[test]
    fn a_line_has_keys_and_values() {
        let filter = read(" order.close  state:dead ");
        assert_eq!((filter.get("tag"), filter.get("state")), (Some("order.close"), Some("dead")));
        assert_eq!(read("tag:a tag:b:c").get("tag"), Some("b:c"), "the last one counts");
        assert_eq!(read("tag: ").get("tag"), None);
        assert!(read("since:2h").problem.is_some_and(|why| why.contains("since:2h")));
    }

    #[test]
    fn links_keep_the_other_keys() {
        let mut filter = read("tag:a b state:dead");
        filter.add_tabs("All", [("ready", "Ready")].into_iter());
        let hrefs: Vec<&str> = filter.tabs.iter().map(|tab| tab.href.as_str()).collect();
        assert_eq!(hrefs, ["/x?q=tag%3Ab", "/x?q=tag%3Ab+state%3Aready"]);
        assert!(filter.tabs.iter().all(|tab| !tab.is_current));
        assert_eq!(href("/x", "", None), "/x");
    }
}
