//! The creation of an operation.

use serde_json::{Map, Value, json};

use super::{Recipe, Request, Shell, option, words};
use crate::core::labels::Labels;
use crate::core::operation::{NewOperation, Selection};

/// Command that reads a file with an operation.
const FILE_COMMAND: &str = "taskcenter operation create --file operation.yaml";

/// Returns the texts that create an operation, given one that is valid.
pub fn operate(shell: Shell, title: &str, new: &NewOperation) -> Recipe {
    let action = new.action.as_str();
    let mut command = words(&["operation", "create", action]);
    let mut document = json!({ "action": action, "select": select(&new.selection, &mut command) });
    for (field, value) in settings(new) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        command.push(option(field.trim_end_matches("_per_sec"), &text));
        document[field] = value;
    }
    let request = Request { body: Some(&document), ..Request::post("/v1/operations") };
    Recipe::new(shell, title, &request, Some(&command)).with_document(&document, FILE_COMMAND)
}

/// Returns the fields beside action and selection, as the API names them.
fn settings(new: &NewOperation) -> impl Iterator<Item = (&'static str, Value)> {
    let patch = new.patch.as_deref().and_then(|patch| serde_json::from_str(patch).ok());
    let fields = [
        ("patch", patch),
        ("reason", new.reason.clone().map(Value::from)),
        ("rate_per_sec", new.rate_per_sec.map(Value::from)),
        ("canary", new.canary.map(Value::from)),
    ];
    fields.into_iter().filter_map(|(field, value)| Some((field, value?)))
}

/// Returns a selection as the API writes it, and adds the options of the command line.
fn select(selection: &Selection, command: &mut Vec<String>) -> Value {
    match selection {
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
    }
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
    use crate::core::operation::Action;

    fn texts_of(new: &NewOperation) -> Vec<String> {
        operate(Shell { has_token: false }, "", new).texts.into_iter().map(|text| text.text).collect()
    }

    fn texts(action: Action, selection: &Selection) -> Vec<String> {
        texts_of(&NewOperation::new(action, selection.clone()))
    }

    #[test]
    fn every_text_carries_patch_reason_rate_and_canary() {
        let new = NewOperation {
            patch: Some(r#"{ "to": "mia's" }"#.to_owned()),
            reason: Some("-- gateway: down".to_owned()),
            rate_per_sec: Some(50),
            canary: Some(2),
            ..NewOperation::new(Action::Redrive, Selection::Ids(vec!["1".to_owned()]))
        };
        let texts = texts_of(&new);
        let [curl, cli, json, yaml] = &texts[..] else { panic!("four texts") };
        let body = json!({"action": "redrive", "select": {"ids": ["1"]}, "patch": {"to": "mia's"},
            "reason": "-- gateway: down", "rate_per_sec": 50, "canary": 2});
        assert!(curl.contains(&format!("-d '{}'", body.to_string().replace('\'', r"'\''"))), "{curl}");
        let command = r#"taskcenter operation create redrive --id=1 '--patch={"to":"mia'\''s"}' '--reason=-- gateway: down' --rate=50 --canary=2"#;
        assert_eq!(cli, command);
        assert_eq!(json.parse::<Value>().unwrap(), body);
        let settings = "action: redrive\ncanary: 2\npatch:\n  to: \"mia's\"\nrate_per_sec: 50\nreason: \"-- gateway: down\"\n";
        assert!(yaml.contains(settings), "{yaml}");
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
