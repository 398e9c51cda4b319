//! The fields of messages and of tasks in replies.

use serde_json::{Map, Value};

use super::board::{self, Row};

const MAX_TEXT_BYTES: usize = 1_024;

/// Returns the tasks in a service's reply, and the number of elements that are not tasks.
pub fn tasks(reply: &[u8]) -> Result<(Vec<Row>, usize), String> {
    let rows: Vec<Value> = match serde_json::from_slice(reply) {
        Ok(Value::Array(rows)) => rows,
        // What Go writes for a list without elements.
        Ok(Value::Null) => Vec::new(),
        _ => return Err("the reply should be a JSON array of tasks".into()),
    };
    let all = rows.len();
    let row = |row| Fields::of(row).and_then(|fields| fields.row()).ok();
    let rows: Vec<Row> = rows.into_iter().filter_map(row).collect();
    let none = all - rows.len();
    Ok((rows, none))
}

/// The members of a message by their names in lower case.
pub struct Fields(Map<String, Value>);

impl Fields {
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let read = serde_json::from_slice(body).or_else(|error| repaired(body).ok_or(error));
        Self::of(read.map_err(|error| format!("the message is not JSON: {error}"))?)
    }

    fn of(value: Value) -> Result<Self, String> {
        let Value::Object(fields) = value else { return Err("the message should be a JSON object".into()) };
        Ok(Self(fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect()))
    }

    pub fn text(&self, name: &str) -> Result<String, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) if text.len() <= MAX_TEXT_BYTES => Ok(text.clone()),
            Some(_) => Err(format!("{name} should be text of at most {MAX_TEXT_BYTES} bytes")),
        }
    }

    pub fn number(&self, name: &str) -> Result<i64, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| format!("{name} should be a whole number")),
        }
    }

    /// Returns a row with the fields that identify the task.
    pub fn identity(&self) -> Result<Row, String> {
        let row = Row {
            project_id: self.text("projectid")?,
            instance_id: self.text("instanceid")?,
            task_id: self.text("taskid")?,
            task_type: self.text("tasktype")?,
            ..Row::default()
        };
        if row.task_id.is_empty() { Err("TaskID is missing".into()) } else { Ok(row.with_id()) }
    }

    pub fn row(&self) -> Result<Row, String> {
        let status = Some(self.text("status")?).filter(|status| !status.is_empty());
        let status = status.unwrap_or_else(|| board::UNCLAIMED.to_owned());
        if !board::is_status(&status) {
            return Err(format!("unknown Status {status:?}"));
        }
        Ok(Row {
            url: self.text("url")?,
            status,
            create_time: self.number("createtime")?,
            user: self.text("user")?,
            checker: self.text("checker")?,
            group: self.text("group")?,
            reserved: self.text("reserved")?,
            ..self.identity()?
        })
    }
}

/// Parses samples of the document, which have a name without a value (`"EditInfo",`).
fn repaired(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str(&text.replace("\"EditInfo\",", "\"EditInfo\":\"\",")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_case_insensitive() {
        let one = Fields::read(br#"{"TASKID":"t","taskType":"k","projectid":"p","InstanceID":"i"}"#).unwrap();
        let other =
            Fields::read(br#"{"TaskID":"t","TaskType":"k","ProjectID":"p","instanceID":"i"}"#).unwrap();
        assert_eq!(one.row(), other.row());
        assert_eq!(one.row().unwrap().status, board::UNCLAIMED);
    }

    #[test]
    fn elements_that_are_not_tasks_are_counted() {
        let (rows, none) = tasks(br#"[{"TaskID":"t"},{"TaskID":""},7]"#).unwrap();
        assert_eq!((rows.len(), none), (1, 2));
        assert_eq!(tasks(b"null").unwrap(), (Vec::new(), 0));
        assert!(tasks(b"{}").is_err() && tasks(b"<html>").is_err());
    }
}
