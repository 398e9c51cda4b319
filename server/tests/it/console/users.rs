//! Sign-in by user.

use taskcenter_server::core::access::{ConsoleAccess, Role};
use taskcenter_server::core::user::{ExpiryChange, UserChange};
use taskcenter_server::engine::service::User;

use super::{Browser, with_locked_console};
use crate::http::{NOW, Server};

const PASSWORD: &str = "correct horse";

async fn set_user(server: &Server, name: &str, role: Option<Role>, password: &str) {
    let console = role.map(|role| ConsoleAccess { role, tags: Vec::new() });
    let user = User { name: name.to_owned(), senior: false, console, expires_at: None };
    server.state.service.set_user(&user.change(password)).await.unwrap();
}

#[tokio::test]
async fn a_user_with_a_role_signs_in_and_no_other() {
    with_locked_console(async |server| {
        set_user(server, "li", Some(Role::Operator), PASSWORD).await;
        set_user(server, "legacy", None, PASSWORD).await;
        let browser = Browser::new(server);
        for (name, password) in [
            ("li", "wrong horse"),
            ("li", ""),
            ("nobody", PASSWORD),
            ("legacy", PASSWORD),
            ("user:li", PASSWORD),
        ] {
            let refused = browser.sign_in_as(name, password).await;
            assert_eq!(refused.status, 401, "{name}");
            refused
                .has("The user name or the password is wrong")
                .has(&format!("value=\"{name}\""))
                .lacks(PASSWORD);
        }
        assert_eq!(browser.get("/").await.status, 303, "no session is open");
        assert_eq!(browser.sign_in_as("li", PASSWORD).await.status, 303);
        browser.get("/").await.has(">li<").has("/console/tasks/new").lacks("/console/access");
    })
    .await;
}

#[tokio::test]
async fn each_role_has_its_rights() {
    with_locked_console(async |server| {
        for (role, writes, administers) in
            [(Role::Viewer, false, false), (Role::Operator, true, false), (Role::Admin, true, true)]
        {
            set_user(server, "li", Some(role), PASSWORD).await;
            let browser = Browser::new(server);
            browser.sign_in_as("li", PASSWORD).await;
            let statuses =
                [browser.get("/console/tasks/new").await.status, browser.get("/console/access").await.status];
            let expected = [writes, administers].map(|may| if may { 200 } else { 403 });
            assert_eq!(statuses, expected, "{role:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_password_another_role_or_a_removal_takes_effect_in_open_sessions() {
    with_locked_console(async |server| {
        set_user(server, "li", Some(Role::Admin), PASSWORD).await;
        let browser = Browser::new(server);
        browser.sign_in_as("li", PASSWORD).await;
        browser.get("/console/access").await.has("admin");
        set_user(server, "li", Some(Role::Viewer), "another horse").await;
        assert_eq!(browser.get("/").await.status, 303, "the password has changed");
        browser.sign_in_as("li", "another horse").await;
        assert_eq!(browser.get("/").await.status, 200);
        server.state.service.remove_user("li").await.unwrap();
        assert_eq!(browser.get("/").await.status, 303, "the user is removed");
    })
    .await;
}

#[tokio::test]
async fn an_expired_user_cannot_sign_in_and_has_no_session() {
    with_locked_console(async |server| {
        let (service, end) = (&server.state.service, NOW.plus_ms(60_000));
        set_user(server, "li", Some(Role::Admin), PASSWORD).await;
        let expire = async |expires_at| {
            let name = "li".to_owned();
            let change = UserChange { name, expires_at: Some(expires_at), ..UserChange::default() };
            service.set_user(&change).await.unwrap();
        };
        expire(ExpiryChange::At(end)).await;
        let (browser, other) = (Browser::new(server), Browser::new(server));
        assert_eq!(browser.sign_in_as("li", PASSWORD).await.status, 303);
        let token = service.open_session("li", "taskdash", 3_600_000).await.unwrap();
        server.clock.set(end.plus_ms(-1));
        assert_eq!(browser.get("/").await.status, 200);
        assert!(service.session(&token, "taskdash").await.unwrap().is_some());
        server.clock.set(end);
        assert_eq!(browser.get("/").await.status, 303);
        assert_eq!(service.session(&token, "taskdash").await.unwrap(), None);
        assert_eq!(service.check_password("li", PASSWORD).await.unwrap(), None);
        let refused = other.sign_in_as("li", PASSWORD).await;
        assert_eq!(refused.status, 401);
        refused.has("The user has expired.");
        other.sign_in_as("li", "wrong horse").await.has("The user name or the password is wrong");
        expire(ExpiryChange::Never).await;
        assert_eq!(browser.get("/").await.status, 303, "an ended session does not come back");
        assert_eq!(service.session(&token, "taskdash").await.unwrap(), None);
        assert_eq!(other.sign_in_as("li", PASSWORD).await.status, 303);
    })
    .await;
}

#[tokio::test]
async fn guesses_at_a_password_are_limited() {
    with_locked_console(async |server| {
        set_user(server, "li", Some(Role::Viewer), PASSWORD).await;
        let browser = Browser::new(server);
        for _ in 0..10 {
            assert_eq!(browser.sign_in_as("li", "a guess").await.status, 401);
        }
        let refused = browser.sign_in_as("li", PASSWORD).await;
        assert_eq!(refused.status, 429);
        refused.has("Too many attempts");
    })
    .await;
}
