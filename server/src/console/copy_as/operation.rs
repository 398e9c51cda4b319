//! The creation of an operation.

use serde_json::{Map, Value, json};

use super::{Recipe, Request, Shell, option, words};
use crate::core::labels::Labels;
use crate::core::operation::{Action, Selection};

/// Command that reads a file with an operation.
const FILE_COMMAND: &str = "taskcenter operation create --file operation.yaml";

/// Returns the texts that create an operation on a selection.
pub fn operate(shell: Shell, title: &str, action: Action, selection: &Selection) -> Recipe {
    let mut command = words(&["operation", "create", action.as_str()]);
    let select = match selection {
        Selection::Ids(ids) => {
            command.extend(ids.iter().map(|id| option("id", id)));
            json!({ "ids": ids })
        }
        filter => {
            let (fields, labels) = pairs(filter);
            command.extend(fields.iter().map(|(field, value)| option(field.trim_end_matches("_id"), value)));
            command.extend(labels.iter().map(|(key, value)| option("label", &format!("{key}={value}"))));
            command.extend((fields.is_empty() && labels.is_empty()).then(|| "--all".to_owned()));
            let fields = fields.into_iter().map(|(field, value)| (field.to_owned(), Value::from(value)));
            let labels = (!labels.is_empty()).then(|| ("labels".to_owned(), json!(labels)));
            json!({ "filter": fields.chain(labels).collect::<Map<_, _>>() })
        }
    };
    let document = json!({ "action": action.as_str(), "select": select });
    let request = Request { body: Some(&document), ..Request::post("/v1/operations") };
    Recipe::new(shell, title, &request, Some(&command)).with_document(&document, FILE_COMMAND)
}

/// Returns the fields of a filter, as the API names them, and its labels.
fn pairs(filter: &Selection) -> (Vec<(&'static str, String)>, Labels) {
    let (fields, labels) = match filter {
        Selection::Ids(_) | Selection::Moments(_) => (Vec::new(), Labels::new()),
        Selection::Tasks { name, state, labels } => {
            let state = state.map(|state| state.as_str().to_owned());
            (vec![("name", name.clone()), ("state", state)], labels.clone())
        }
        Selection::Runs { task_id, tag, state, labels } => {
            let task_id = ("task_id", task_id.as_ref().map(ToString::to_string));
            let state = ("state", state.map(|state| state.as_str().to_owned()));
            (vec![task_id, ("tag", tag.clone()), state], labels.clone())
        }
    };
    (fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect(), labels)
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
        let all = texts(Action::Pause, &Selection::Tasks { name: None, state: None, labels: Labels::new() });
        assert!(all[0].contains(r#"{"action":"pause","select":{"filter":{}}}"#), "{}", all[0]);
        assert_eq!(all[1], "taskcenter operation create pause --all");
        let labels = Labels::from([("team".to_owned(), "pay 1".to_owned())]);
        let labelled =
            texts(Action::Pause, &Selection::Tasks { name: None, state: None, labels: labels.clone() });
        assert!(labelled[0].contains(r#"{"filter":{"labels":{"team":"pay 1"}}}"#), "{}", labelled[0]);
        assert_eq!(labelled[1], "taskcenter operation create pause '--label=team=pay 1'");
        let (tag, labels) = (Some("a b".to_owned()), Labels::new());
        let of_task = Selection::Runs { task_id: None, tag, state: None, labels };
        let dead = texts(Action::Redrive, &of_task);
        assert_eq!(dead[1], "taskcenter operation create redrive '--tag=a b'");
        let ids = texts(Action::Cancel, &Selection::Ids(vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(ids[1], "taskcenter operation create cancel --id=1 --id=2");
    }
}
