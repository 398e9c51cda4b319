//! What an administrator does on the page *Access*: users and tokens.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::access::Scope;
use taskcenter_server::engine::service::AuditFilter;

use super::{Browser, hourly, token, with_console, with_locked_console};
use crate::http::{NOW, Server};

const ACCESS: &str = "/console/access";
const NEW_USER: &str = "/console/access/users/new";
const EDIT_USER: &str = "/console/access/users/edit";
const REMOVE_USER: &str = "/console/access/users/remove";
const NEW_TOKEN: &str = "/console/access/tokens/new";
const REVOKE_TOKEN: &str = "/console/access/tokens/revoke";
const PASSWORD: &str = " correct horse ";

async fn entries(server: &Server, object: &str) -> Vec<String> {
    let (_, page) = server.get(&format!("/v1/audit?object={object}")).await;
    let line = |entry: &Value| format!("{} {} {}", entry["front"], entry["action"], entry["outcome"]);
    page["entries"].as_array().unwrap().iter().map(|entry| line(entry).replace('"', "")).collect()
}

#[tokio::test]
async fn a_user_is_created_changed_and_removed() {
    with_console(async |server| {
        let admin = Browser::new(server);
        let fields =
            [("name", "li"), ("password", PASSWORD), ("role", "operator"), ("tags", "mail\r\norder.close")];
        let created = admin.post(NEW_USER, NEW_USER, &fields).await;
        assert_eq!((created.status, created.location()), (303, "/console/access?done=user_saved"));
        let of = format!("{EDIT_USER}?name=li");
        admin
            .get(created.location())
            .await
            .has("The user is saved.")
            .has("operator: reads and changes")
            .has("mail, order.close")
            .has(&of);
        admin
            .get(&of)
            .await
            .has("<option value=\"operator\" selected>")
            .has("mail\norder.close")
            .lacks("horse");
        let fields =
            [("name", "li"), ("password", ""), ("role", "viewer"), ("tags", "mail"), ("senior", "on")];
        assert_eq!(admin.post(&of, EDIT_USER, &fields).await.status, 303);
        let li = json!({"name": "li", "senior": true, "role": "viewer", "tags": ["mail"]});
        assert_eq!(server.get("/v1/users").await.1, json!({"users": [li]}));
        let question = format!("{REMOVE_USER}?name=li");
        admin.get(&question).await.has("viewer: reads").has("the sessions of the user end at once");
        assert_eq!(server.get("/v1/users").await.1, json!({"users": [li]}), "the question changes nothing");
        let removed = admin.post(&question, REMOVE_USER, &[("name", "li")]).await;
        assert_eq!(removed.location(), "/console/access?done=user_removed");
        assert_eq!(server.get("/v1/users").await.1, json!({"users": []}));
        for gone in [&of, &question] {
            assert_eq!(admin.get(gone).await.status, 404);
        }
        assert_eq!(admin.post(NEW_USER, EDIT_USER, &fields).await.status, 404, "an edit creates no user");
        assert_eq!(
            entries(server, "user+li").await,
            [
                "console record.put refused",
                "console record.remove done",
                "console record.put done",
                "console record.put done"
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_user_gets_an_expiry_keeps_it_and_loses_it() {
    with_console(async |server| {
        let admin = Browser::new(server);
        let expiry = async || server.get("/v1/users").await.1["users"][0]["expires_at"].clone();
        let user = [("name", "li"), ("role", "viewer")];
        let send = async |path: &str, fields: &[(&str, &str)]| {
            let from = if path == NEW_USER { path.to_owned() } else { format!("{path}?name=li") };
            admin.post(&from, path, &[&user[..], fields].concat()).await
        };
        let (password, end) = (("password", PASSWORD), ("expires", "2033-06-01T10:00"));
        assert_eq!(send(NEW_USER, &[password, end]).await.status, 303);
        assert_eq!(expiry().await, json!("2033-06-01T10:00:00Z"));
        admin.get(ACCESS).await.has(">Expires<").has("2033-06-01");
        let form = admin.get(&format!("{EDIT_USER}?name=li")).await;
        form.has("id=\"expires\" name=\"expires\" value=\"2033-06-01T10:00:00\"");
        let before = ("expires_before", "2033-06-01T10:00:00");
        for wrong in ["2033-05-18T03:33:20", "soon"] {
            let refused = send(EDIT_USER, &[before, ("expires", wrong)]).await;
            assert_eq!(refused.status, 422, "{wrong}");
            let input = refused.html.split("id=\"expires\"").nth(1).unwrap().split('>').next().unwrap();
            assert!(input.contains("aria-invalid=\"true\"") && input.contains(wrong), "{input}");
        }
        assert_eq!(send(EDIT_USER, &[before, end]).await.status, 303);
        assert_eq!(expiry().await, json!("2033-06-01T10:00:00Z"), "the same time without seconds");
        server.clock.set(NOW.plus_ms(366 * 86_400_000));
        assert_eq!(send(EDIT_USER, &[before, end]).await.status, 303, "an expired user can be changed");
        assert_eq!(send(EDIT_USER, &[before, ("expires", "")]).await.status, 303);
        assert_eq!(expiry().await, Value::Null);
    })
    .await;
}

#[tokio::test]
async fn a_refused_user_keeps_what_was_typed_but_the_password() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let li = json!({"name": "li", "password": PASSWORD});
        server.post("/v1/users", &li).await;
        for (name, password, role, tags, field, why) in [
            ("li", PASSWORD, "viewer", "", "name", "a user with this name exists"),
            ("a\u{1}b", PASSWORD, "viewer", "", "name", "without control characters"),
            ("mia", "", "viewer", "", "password", "password is required for a new user"),
            ("mia", "secret7", "viewer", "", "password", "between 8 and 1024 bytes"),
            ("mia", "brief", "none", "", "password", "between 6 and 1024 bytes"),
            ("mia", PASSWORD, "root", "", "role", "role should be viewer"),
            ("mia", PASSWORD, "admin", "mail", "tags", "tags cannot limit the scope admin"),
            ("mia", PASSWORD, "viewer", "a|b", "tags", "invalid tag"),
            ("mia", PASSWORD, "none", "mail", "tags", "tags limit a role"),
        ] {
            let fields = [("name", name), ("password", password), ("role", role), ("tags", tags)];
            let refused = browser.post(NEW_USER, NEW_USER, &fields).await;
            assert_eq!(refused.status, 422, "{fields:?}");
            refused.has(why).has(&format!("value=\"{name}\"")).has(&format!("{tags}</textarea>"));
            let input = refused.html.split(&format!("id=\"{field}\"")).nth(1).unwrap();
            assert!(input.split('>').next().unwrap().contains("aria-invalid=\"true\""), "{field}");
            assert!(password.is_empty() || !refused.html.contains(password), "{fields:?}");
        }
        let fields = [("name", "li"), ("role", "viewer")];
        let first_role = browser.post(&format!("{EDIT_USER}?name=li"), EDIT_USER, &fields).await;
        assert_eq!(first_role.status, 422);
        first_role.has("password is required with the first role");
        assert_eq!(server.get("/v1/users").await.1, json!({"users": [{"name": "li", "senior": false}]}));
    })
    .await;
}

#[tokio::test]
async fn a_changed_user_keeps_the_session_with_the_new_rights_until_the_removal() {
    with_locked_console(async |server| {
        let (_, text) = token(server, &[Scope::Admin], &[]).await;
        let (admin, li) = (Browser::new(server), Browser::new(server));
        admin.sign_in(&text).await;
        let fields = [("name", "li"), ("password", PASSWORD), ("role", "operator")];
        admin.post(NEW_USER, NEW_USER, &fields).await;
        assert_eq!(li.sign_in_as("li", PASSWORD).await.status, 303);
        assert_eq!(li.get("/console/tasks/new").await.status, 200);
        let of = format!("{EDIT_USER}?name=li");
        admin.post(&of, EDIT_USER, &[("name", "li"), ("role", "viewer"), ("tags", "mail")]).await;
        assert_eq!(li.get("/console/tasks/new").await.status, 403, "the role has changed");
        assert_eq!(li.get("/").await.status, 200, "the session is open");
        admin.post(&of, EDIT_USER, &[("name", "li"), ("role", "none")]).await;
        assert_eq!(li.get("/").await.status, 303, "the role is removed");
        let fields = [("name", "li"), ("role", "viewer"), ("password", PASSWORD)];
        admin.post(&of, EDIT_USER, &fields).await;
        li.sign_in_as("li", PASSWORD).await;
        assert_eq!(li.get("/").await.status, 200);
        admin.post(&format!("{REMOVE_USER}?name=li"), REMOVE_USER, &[("name", "li")]).await;
        assert_eq!(li.get("/").await.status, 303, "the user is removed");
    })
    .await;
}

#[tokio::test]
async fn a_token_is_shown_once_and_revoked() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let fields = [
            ("name", "ci <b>"),
            ("scope", "task:read"),
            ("scope", "run:pull"),
            ("tags", "mail\nmail"),
            ("days", "90"),
        ];
        let issued = browser.post(NEW_TOKEN, NEW_TOKEN, &fields).await;
        assert_eq!((issued.status, issued.header("cache-control")), (200, "no-store"));
        issued.has("The server does not show it again.").has("task:read, run:pull").has("ci &#60;b&#62;");
        let text = issued.html.split("data-copy-text>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        let (_, list) = server.get("/v1/tokens").await;
        let stored = &list["tokens"][0];
        assert_eq!(stored["tags"], json!(["mail"]));
        assert!(stored["expires_at"].is_string(), "{stored}");
        let bearer = format!("Bearer {text}");
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(server.request(Method::GET, "/v1/tasks", &headers, &Value::Null).await.0, 200);
        let id = stored["id"].as_str().unwrap();
        browser.get(ACCESS).await.has(id).lacks(&text);
        let question = format!("{REVOKE_TOKEN}?id={id}");
        browser.get(&question).await.has("ci &#60;b&#62;").has("This node refuses the token at once");
        let revoked = browser.post(&question, REVOKE_TOKEN, &[("id", id)]).await;
        assert_eq!(revoked.location(), "/console/access?done=token_revoked");
        assert_eq!(server.get("/v1/tokens").await.1, json!({"tokens": []}));
        assert_eq!(browser.get(&question).await.status, 404);
        assert_eq!(entries(server, id).await, ["console token.revoke done", "console token.issue done"]);
    })
    .await;
}

#[tokio::test]
async fn a_refused_token_keeps_what_was_typed() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let live_tasks =
            |max| [("name", "ci"), ("scope", "task:write"), ("tags", ""), ("max_live_tasks", max)];
        for (fields, field, why) in [
            ([("name", " "), ("scope", "admin"), ("tags", ""), ("days", "")], "name", "name should have"),
            ([("name", "ci"), ("scope", ""), ("tags", "mail"), ("days", "3")], "scope", "at least one of"),
            ([("name", "ci"), ("scope", "admin"), ("tags", "a"), ("days", "")], "tags", "cannot limit"),
            ([("name", "ci"), ("scope", "admin"), ("tags", ""), ("days", "soon")], "days", "no number"),
            (live_tasks("many"), "max_live_tasks", "no number"),
            (live_tasks("100001"), "max_live_tasks", "between 1 and 100000"),
        ] {
            let refused = browser.post(NEW_TOKEN, NEW_TOKEN, &fields).await;
            assert_eq!(refused.status, 422, "{fields:?}");
            refused.has(why).has(&format!("value=\"{}\"", fields[3].1));
            let input = refused.html.split(&format!("name=\"{field}\"")).nth(1).unwrap();
            assert!(input.split('>').next().unwrap().contains("aria-invalid=\"true\""), "{field}");
        }
        assert_eq!(server.get("/v1/tokens").await.1, json!({"tokens": []}));
    })
    .await;
}

#[tokio::test]
async fn a_token_with_quotas_is_created_listed_and_refuses_a_task() {
    with_locked_console(async |server| {
        let (_, text) = token(server, &[Scope::Admin], &[]).await;
        let (admin, holder) = (Browser::new(server), Browser::new(server));
        admin.sign_in(&text).await;
        let fields =
            [("name", "ci"), ("scope", "task:write"), ("max_live_tasks", "1"), ("max_creates_per_sec", "50")];
        let issued = admin.post(NEW_TOKEN, NEW_TOKEN, &fields).await;
        issued.has("<dt>Quotas</dt><dd>1 live task, 50 creates per second</dd>");
        admin.get(ACCESS).await.has("1 live task, 50 creates per second").has("<div>unlimited</div>");
        let text = issued.html.split("data-copy-text>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        holder.sign_in(&text).await;
        let form = "/console/tasks/new";
        let task =
            |data| [("name", "mail"), ("kind", "once"), ("start", "2033-06-01T08:00:00"), ("data", data)];
        assert_eq!(holder.post(form, form, &task("first")).await.status, 303);
        let refused = holder.post(form, form, &task("typed")).await;
        assert_eq!(refused.status, 422);
        refused.has("the token has 1 of 1 live tasks, so 0 of 1 new tasks fit").has("typed");
    })
    .await;
}

#[tokio::test]
async fn only_an_administrator_with_a_form_changes_users_and_tokens() {
    with_locked_console(async |server| {
        let (id, admin_text) = token(server, &[Scope::Admin], &[]).await;
        let (_, text) = token(server, &[Scope::TaskWrite], &[]).await;
        let operator = Browser::new(server);
        operator.sign_in(&text).await;
        let admin = Browser::new(server);
        admin.sign_in(&admin_text).await;
        let user = [("name", "li"), ("password", PASSWORD), ("role", "admin")];
        let new_token = [("name", "ci"), ("scope", "admin")];
        for (path, fields) in [
            (NEW_USER, &user[..]),
            (EDIT_USER, &user[..]),
            (REMOVE_USER, &user[..]),
            (NEW_TOKEN, &new_token[..]),
            (REVOKE_TOKEN, &[("id", id.as_str())][..]),
        ] {
            assert_eq!(operator.get(path).await.status, 403, "{path}");
            assert_eq!(operator.post("/console/tasks", path, fields).await.status, 403, "{path}");
            assert_eq!(admin.post_raw(path, fields).await.status, 403, "{path}: no form token");
        }
        assert_eq!(server.state.service.users().await.unwrap(), []);
        assert_eq!(server.state.service.tokens().await.unwrap().len(), 2);
        let audit = server.state.service.audit_log(&AuditFilter::default(), None, 20).await.unwrap().0;
        let refused =
            audit.iter().filter(|entry| entry.outcome == "forbidden").map(|entry| entry.action.as_str());
        let expected = ["token.revoke", "token.issue", "record.remove", "record.put", "record.put"];
        assert_eq!(refused.collect::<Vec<_>>(), expected);
    })
    .await;
}

#[tokio::test]
async fn a_user_who_is_limited_to_a_tag_sees_and_changes_only_its_tasks() {
    with_locked_console(async |server| {
        let (_, text) = token(server, &[Scope::Admin], &[]).await;
        let (admin, li) = (Browser::new(server), Browser::new(server));
        admin.sign_in(&text).await;
        let fields = [("name", "li"), ("password", PASSWORD), ("role", "operator"), ("tags", "mail")];
        admin.post(NEW_USER, NEW_USER, &fields).await;
        let bearer = format!("Bearer {text}");
        let page = async |name: &str| {
            let headers = [("authorization", bearer.as_str())];
            let (_, task) = server.request(Method::POST, "/v1/tasks", &headers, &hourly(name)).await;
            format!("/console/tasks/{}", task["id"].as_str().unwrap())
        };
        let (mail, other) = (page("mail").await, page("other").await);
        li.sign_in_as("li", PASSWORD).await;
        li.get("/console/tasks").await.has(&mail).lacks(&other).lacks(">other<");
        li.get("/").await.lacks(">other<").lacks(ACCESS).lacks("/console/services");
        assert_eq!(li.post(&mail, &format!("{mail}/pause"), &[]).await.status, 303);
        li.get(&mail).await.has(">Paused<");
        assert_eq!(li.get(&other).await.status, 404);
        assert_eq!(li.post(&mail, &format!("{other}/pause"), &[]).await.status, 404);
        admin.get(&other).await.lacks(">Paused<");
    })
    .await;
}
