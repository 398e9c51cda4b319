//! The view of a page.

use super::{Recipe, Request, Shell, option, words};

/// Returns the texts of a view, given the path of the API with the same content.
pub fn show(shell: Shell, title: &str, api: &str) -> Recipe {
    let (path, query) = api.split_once('?').unwrap_or((api, ""));
    let command = command(path, query);
    Recipe::new(shell, title, &Request::get(api), command.as_deref())
}

/// Returns the command with the same content. `None`: there is none.
fn command(path: &str, query: &str) -> Option<Vec<String>> {
    let segments: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
    let mut command = words(match segments[..] {
        ["tasks"] => &["task", "list"],
        ["runs"] => &["run", "list"],
        ["operations"] => &["operation", "list"],
        ["queues"] => &["queue", "list"],
        ["services"] => &["service", "list"],
        ["tokens"] => &["token", "list"],
        ["workers"] => &["worker", "list"],
        ["alerts"] => &["alert", "list"],
        ["audit"] => &["audit"],
        ["nodes"] => &["node", "list"],
        ["stat"] => &["stat"],
        ["tasks", id] => return Some(words(&["task", "get", id])),
        ["runs", id] => return Some(words(&["run", "get", &decode(id)])),
        ["operations", id] => return Some(words(&["operation", "show", id])),
        _ => return None,
    });
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        command.push(match (segments[0], &*name) {
            ("tasks", "name" | "state")
            | ("runs", "state")
            | ("audit", "object" | "actor" | "action" | "since") => option(&name, &value),
            ("runs", "tag") => option("name", &value),
            ("runs", "task_id") => option("task", &value),
            ("tasks" | "runs", label) => {
                option("label", &format!("{}={value}", label.strip_prefix("label.")?))
            }
            _ => return None,
        });
    }
    Some(command)
}

/// Decodes a segment of a path.
fn decode(segment: &str) -> String {
    let pairs = form_urlencoded::parse(segment.as_bytes()).next();
    pairs.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_filter() {
        let text = |path: &str, query: &str| command(path, query).map(|words| words.join(" "));
        assert_eq!(
            text("/v1/tasks", "name=a%26b&label.team=pay").unwrap(),
            "task list --name=a&b --label=team=pay"
        );
        assert_eq!(
            text("/v1/runs", "task_id=7&tag=-x&state=dead").unwrap(),
            "run list --task=7 --name=-x --state=dead"
        );
        assert_eq!(text("/v1/runs/7-1-5", "").unwrap(), "run get 7-1-5");
        assert_eq!(text("/v1/tasks", "since=2h"), None, "the command would show other rows");
        assert_eq!(text("/v1/alerts", "").unwrap(), "alert list");
        assert_eq!(
            text("/v1/audit", "actor=ci&since=2030-01-31T08:00:00Z").unwrap(),
            "audit --actor=ci --since=2030-01-31T08:00:00Z"
        );
        assert_eq!(text("/v1/events", ""), None);
    }
}
