//! Cron expressions out of words and choices, and the preview of a schedule.

use serde_json::json;

use super::{Browser, create, hourly, with_console};

const NEW: &str = "/console/tasks/new";

#[tokio::test]
async fn words_and_choices_fill_the_expression_without_scripts() {
    with_console(async |server| {
        let browser = Browser::new(server);
        browser.get(NEW).await.has("Compose an expression").has("<option value=\"Asia/Shanghai\"></option>");
        for (fields, expression) in [
            ([("compose", "phrase"), ("phrase", "every weekday at 09:30")], "30 9 * * 1-5"),
            ([("compose", "phrase"), ("phrase", "每天 9:30")], "30 9 * * *"),
            ([("compose", "choices"), ("rhythm", "weekdays")], "0 9 * * 1-5"),
        ] {
            let fields =
                [&fields[..], &[("name", "a"), ("kind", "once"), ("data", "kept"), ("zone", "UTC")]].concat();
            let composed = browser.post(NEW, NEW, &fields).await;
            assert_eq!(composed.status, 200, "{}", composed.html);
            composed
                .has(&format!("name=\"cron\" value=\"{expression}\""))
                .has("Next moments")
                .has("kept</textarea>");
            composed.has("value=\"cron\" checked");
        }
        let uneven = [("compose", "phrase"), ("phrase", "every 7 minutes"), ("name", "a"), ("kind", "once")];
        let composed = browser.post(NEW, NEW, &uneven).await;
        composed.has("name=\"kind\" value=\"every\" checked").has("name=\"period\" value=\"7\"");
        composed.has("value=\"min\" selected").has("Every 7 min");
        let unknown =
            [("compose", "phrase"), ("phrase", "every blue moon"), ("kind", "cron"), ("cron", "1 2 * * *")];
        let refused = browser.post(NEW, NEW, &unknown).await;
        assert_eq!(refused.status, 422);
        refused.has("These words are not understood.").has("value=\"1 2 * * *\"").has("every blue moon");
        let entered = [("phrase", "every day at noon"), ("name", "a"), ("kind", "once"), ("zone", "UTC")];
        let composed = browser.post(NEW, NEW, &entered).await;
        composed.has("value=\"0 12 * * *\"");
        assert_eq!(server.get("/v1/tasks").await.1["tasks"], json!([]), "the Enter key creates nothing");
        let saved = [&entered[..], &[("save", "1")]].concat();
        assert_eq!(browser.post(NEW, NEW, &saved).await.status, 303);
    })
    .await;
}

#[tokio::test]
async fn an_absence_shows_what_each_policy_would_do() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let shown = async |policy: &str| {
            let path = format!(
                "/console/schedule?kind=cron&cron=0+*+*+*+*&zone=UTC&away_from=2034-01-01T00:30&away_to=2034-01-01T04:30&\
                policy={policy}"
            );
            let shown = browser.get(&path).await;
            assert_eq!(shown.status, 200, "{}", shown.html);
            shown.html
        };
        let all = shown("fire_all").await;
        assert!(all.contains("fires 3 h 30 min late") && all.contains("fires 30 min late"), "{all}");
        let last = shown("fire_last").await;
        assert!(last.contains("3 moments merged into the next one") && last.contains("fires 30 min late"), "{last}");
        let skip = shown("skip").await;
        assert!(skip.contains("4 moments skipped") && !skip.contains(" late"), "{skip}");
        assert!(shown("").await.contains("3 moments merged"), "the policy of the server");
        let swapped = "/console/schedule?kind=every&period=1&unit=h&away_from=2034-01-01T04:30&away_to=2034-01-01T00:30";
        let refused = browser.get(swapped).await;
        assert_eq!(refused.status, 422);
        refused.has("The server is back before it was away");
    })
    .await;
}

#[tokio::test]
async fn the_fragment_composes_and_marks_changes_of_the_clock() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let composed =
            browser.get("/console/schedule?compose=choices&rhythm=daily&c_time=02:30&zone=UTC").await;
        composed.has("data-cron=\"30 2 * * *\"").has("Every day at 02:30").lacks("<html");
        let every = browser.get("/console/schedule?compose=phrase&phrase=every+90+minutes").await;
        every.has("data-period=\"90\" data-unit=\"min\"").has("Every 1 h 30 min").lacks("data-cron");
        let changed = browser
            .get("/console/schedule?kind=cron&cron=0+12+*+*+0&zone=Europe/Berlin&start=2034-03-10T00:00:00")
            .await;
        changed.has("Clock forward");
        for wrong in [
            "kind=cron&cron=61+*+*+*+*&zone=UTC",
            "compose=phrase&phrase=x",
            "kind=cron&cron=*+*+*+*+*&zone=Mars/Base",
            "",
        ] {
            let refused = browser.get(&format!("/console/schedule?{wrong}")).await;
            assert_eq!(refused.status, 422, "{wrong}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_palette_finds_by_id_name_and_tag() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("order.close")).await;
        let run = server.ready("1").await;
        let find = async |text: &str| {
            let query = form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            browser.get(&format!("/console/palette?q={query}")).await
        };
        find(&id).await.has(&format!("/console/tasks/{id}")).has("order.close");
        find(run.id.as_str()).await.has(&format!("/console/runs/{}", run.id));
        let named = find("order.close").await;
        named
            .has(&format!("/console/tasks/{id}"))
            .has("/console/runs?q=tag%3Aorder.close")
            .has("Runs with tag order.close");
        find("<b>").await.lacks("<b>").has("Tasks named");
        for nothing in ["", " ", &"x".repeat(300), &"0".repeat(32)] {
            find(nothing).await.lacks("<li>");
        }
    })
    .await;
}
