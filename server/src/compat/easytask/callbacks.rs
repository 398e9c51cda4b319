//! The format of callbacks to easytask's services.

use serde_json::Value;

use crate::core::callback_format::{CallbackFormat, Delivery, Verdict};

/// Name of the format in a job.
pub const NAME: &str = "easytask";

/// The body identifies the run. The response is `{is_run_in_async,is_success,extra}`, at the top or in
/// `data`.
pub struct Format;

impl CallbackFormat for Format {
    fn name(&self) -> &'static str {
        NAME
    }

    fn request_body(&self, body: &str, delivery: Delivery<'_>) -> String {
        let Ok(mut members @ Value::Object(_)) = serde_json::from_str::<Value>(body) else {
            return body.to_owned();
        };
        members["task_id"] = delivery.task_id.into();
        // A triggered run has no number: its moment identifies it.
        members["run_times"] = delivery.number.or(delivery.scheduled_at_ms).unwrap_or(1).into();
        members.to_string()
    }

    /// Success takes precedence over a later confirmation.
    fn verdict(&self, status: u16, body: &str) -> Verdict {
        let reply: Value = serde_json::from_str(body).unwrap_or_default();
        let reply = if reply["data"].is_object() { &reply["data"] } else { &reply };
        let extra = reply["extra"].as_str().unwrap_or_default().to_owned();
        if status != 200 || !reply.is_object() {
            return Verdict::Failed(None);
        }
        match (reply["is_success"] == true, reply["is_run_in_async"] == true) {
            (true, _) => Verdict::Succeeded(extra),
            (false, true) => Verdict::Accepted,
            (false, false) => Verdict::Failed(Some(extra)),
        }
    }

    /// The contract has one timeout for the call and the confirmation.
    fn confirms_within_timeout(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_takes_precedence_over_a_later_confirmation() {
        let verdict = |status, body| Format.verdict(status, body);
        let both = r#"{"is_run_in_async":true,"is_success":true,"extra":"x"}"#;
        assert_eq!(verdict(200, both), Verdict::Succeeded("x".into()));
        assert_eq!(verdict(200, r#"{"is_run_in_async":true}"#), Verdict::Accepted);
        assert_eq!(
            verdict(200, r#"{"code":0,"data":{"is_success":true}}"#),
            Verdict::Succeeded(String::new())
        );
        let failed = Verdict::Failed(Some("why".into()));
        assert_eq!(verdict(200, r#"{"is_success":false,"extra":"why"}"#), failed);
        assert_eq!(verdict(200, "hello"), Verdict::Failed(None));
        assert_eq!(verdict(500, both), Verdict::Failed(None));
    }

    #[test]
    fn the_body_identifies_the_run() {
        let body = |number| {
            let delivery = Delivery { task_id: "t", number, scheduled_at_ms: Some(7) };
            Format.request_body(r#"{"cmd":1}"#, delivery)
        };
        assert_eq!(body(Some(2)), r#"{"cmd":1,"run_times":2,"task_id":"t"}"#);
        assert_eq!(body(None), r#"{"cmd":1,"run_times":7,"task_id":"t"}"#);
        let delivery = Delivery { task_id: "t", number: None, scheduled_at_ms: None };
        assert_eq!(Format.request_body("text", delivery), "text");
    }
}
