//! The creation of an operation.

use serde_json::{Map, Value, json};

use super::{Recipe, Request, Shell, option, words};
use crate::core::operation::{Action, Selection};

/// Returns the texts that create an operation on a selection.
pub fn operate(shell: Shell, title: &str, action: Action, selection: &Selection) -> Recipe {
    let mut command = words(&["operation", "create", action.as_str()]);
    let select = match selection {
        Selection::Ids(ids) => {
            command.extend(ids.iter().map(|id| option("id", id)));
            json!({ "ids": ids })
        }
        filter => {
            let filter = pairs(filter);
            command.extend(filter.iter().map(|(field, value)| option(field.trim_end_matches("_id"), value)));
            command.extend(filter.is_empty().then(|| "--all".to_owned()));
            let filter = filter.into_iter().map(|(field, value)| (field.to_owned(), Value::from(value)));
            json!({ "filter": filter.collect::<Map<_, _>>() })
        }
    };
    let document = json!({ "action": action.as_str(), "select": select });
    let request = Request { body: Some(&document), ..Request::post("/v1/operations") };
    Recipe::new(shell, title, &request, Some(&command)).with_json(&document)
}

/// Returns the fields of a filter, as the API names them.
fn pairs(filter: &Selection) -> Vec<(&'static str, String)> {
    let fields = match filter {
        Selection::Ids(_) => Vec::new(),
        Selection::Tasks { name, state } => {
            vec![("name", name.clone()), ("state", state.map(|state| state.as_str().to_owned()))]
        }
        Selection::Runs { task_id, tag, state } => vec![
            ("task_id", task_id.as_ref().map(ToString::to_string)),
            ("tag", tag.clone()),
            ("state", state.map(|state| state.as_str().to_owned())),
        ],
    };
    fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(action: Action, selection: &Selection) -> Vec<String> {
        operate(Shell { has_token: false }, "", action, selection)
            .texts
            .into_iter()
            .map(|text| text.text)
            .collect()
    }

    #[test]
    fn a_selection_is_a_filter_or_ids() {
        let all = texts(Action::Pause, &Selection::Tasks { name: None, state: None });
        assert!(all[0].contains(r#"{"action":"pause","select":{"filter":{}}}"#), "{}", all[0]);
        assert_eq!(all[1], "taskcenter operation create pause --all");
        let of_task = Selection::Runs { task_id: None, tag: Some("a b".to_owned()), state: None };
        let dead = texts(Action::Redrive, &of_task);
        assert_eq!(dead[1], "taskcenter operation create redrive '--tag=a b'");
        let ids = texts(Action::Cancel, &Selection::Ids(vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(ids[1], "taskcenter operation create cancel --id=1 --id=2");
    }
}
