// What an operator does: create, find, pause, trigger, follow, repair, and two people who edit one task.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertNoProblems, open, PHONE } from "./console.mjs";
import { page } from "./page.mjs";
import { browser, server } from "./session.mjs";

const task = (id) => server.call("GET", `/v1/tasks/${id}`);
const heading = (name) => page.getByRole("heading", { level: 1, name });
const button = (name) => page.getByRole("button", { name, exact: true });
const link = (name) => page.getByRole("link", { name });
// A row also has links whose names contain that of its task: "Pause… NAME".
const rowOf = (name) => page.getByRole("link", { name, exact: true });

async function go(path) {
  await page.goto(server.url + path);
}

/** Returns the id of the task whose page is open. */
function openTask() {
  return new URL(page.url()).pathname.split("/").pop();
}

async function create(name, choose) {
  await go("/console/tasks/new");
  await page.getByLabel("Name").fill(name);
  await choose();
  await button("Create").click();
  await heading(name).waitFor();
  return task(openTask());
}

test("each kind of schedule can be created", async () => {
  const once = await create("form.once", () => page.getByRole("radio", { name: /^Once/ }).check());
  assert.equal(once.schedule.kind, "once");
  const every = await create("form.every", async () => {
    await page.getByLabel("At a fixed rate").check();
    await page.getByLabel("Period").fill("15");
    await page.getByLabel("Unit").selectOption("min");
  });
  assert.deepEqual(every.schedule, { kind: "every", period_ms: 900_000 });
  const cron = await create("form.cron", async () => {
    await page.getByRole("radio", { name: "By a cron expression" }).check();
    await page.getByRole("textbox", { name: "By a cron expression" }).fill("30 2 * * *");
    await page.getByLabel("Time zone").fill("Europe/Berlin");
    // The moments follow the expression while a person types.
    await page.getByRole("heading", { name: "Next moments" }).waitFor();
    await page.getByText("Every day at 02:30").waitFor();
  });
  assert.deepEqual(cron.schedule, { kind: "cron", cron: "30 2 * * *", zone: "Europe/Berlin" });
  assertNoProblems(page, "forms");
});

test("an invalid field is named, and keeps what was typed", async () => {
  await go("/console/tasks/new");
  await page.getByLabel("Name").fill("form.invalid");
  await page.getByRole("radio", { name: "By a cron expression" }).check();
  const cron = page.getByRole("textbox", { name: "By a cron expression" });
  await cron.fill("61 * * * *");
  await button("Create").click();
  await page.getByRole("alert").filter({ hasText: "61" }).waitFor();
  assert.equal(await cron.getAttribute("aria-invalid"), "true");
  assert.equal(await page.getByLabel("Name").inputValue(), "form.invalid");
});

test("the filter is in the URL and finds tasks and runs", async () => {
  for (const name of ["find.me", "find.other"]) await server.create({ name, delay_ms: 3_600_000 });
  await go("/console/tasks");
  await page.keyboard.press("/");
  await page.keyboard.type("name:find.me");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=name/);
  await rowOf("find.me").waitFor();
  assert.equal(await rowOf("find.other").count(), 0);
  await page.reload();
  assert.equal(await page.getByRole("searchbox").inputValue(), "name:find.me");
});

test("a task is paused, resumed and triggered, each after a question", async () => {
  const { id } = await server.create({ name: "steer", schedule: { kind: "every", period_ms: 3_600_000 } });
  await go(`/console/tasks/${id}`);
  await link("Pause").click();
  assert.equal((await task(id)).state, "active", "the question changes nothing");
  await button("Pause").click();
  await page.getByText("The task is paused.").waitFor();
  assert.equal((await task(id)).state, "paused");
  await link("Resume").click();
  await button("Resume").click();
  await page.getByText("The task is resumed.").waitFor();
  await link("Trigger").click();
  await button("Trigger").click();
  await page.getByText("The task has fired. This is the run.").waitFor();
});

test("a task is edited twice, its definitions are compared, and the first one comes back", async () => {
  const { id } = await server.create({ name: "history", data: "one", schedule: { kind: "every", period_ms: 3_600_000 } });
  for (const data of ["two", "three"]) await server.call("PATCH", `/v1/tasks/${id}`, { data });
  await go(`/console/tasks/${id}`);
  await link("revision 3").click();
  await page.getByRole("heading", { name: "Changes from revision 2 to revision 3" }).waitFor();
  await page.getByLabel("From revision").selectOption("1");
  await button("Show changes").click();
  await page.getByRole("heading", { name: "Changes from revision 1 to revision 3" }).waitFor();
  const changes = page.getByRole("region", { name: "Changes of the payload" });
  assert.deepEqual((await changes.innerText()).split("\n"), ["one", "three"]);
  await link("Edit from this definition").last().click();
  assert.equal(await page.getByLabel("Payload").inputValue(), "one");
  await button("Save").click();
  await page.getByText("The definition is saved.").waitFor();
  assert.equal((await task(id)).data, "one");
  assertNoProblems(page, "history");
});

test("an action appears in the audit log, and the page of a task leads there", async () => {
  const { id } = await server.create({ name: "audited", schedule: { kind: "every", period_ms: 3_600_000 } });
  await go(`/console/tasks/${id}`);
  await link("Pause").click();
  await button("Pause").click();
  await page.getByText("The task is paused.").waitFor();
  await page.getByRole("link", { name: "audit", exact: true }).click();
  const entry = page.getByRole("row", { name: /task\.pause/ });
  await entry.filter({ hasText: "console" }).waitFor();
  await page.getByLabel("Action", { exact: true }).selectOption("task.edit");
  await button("Apply").click();
  await page.getByText("No entry matches").waitFor();
  assertNoProblems(page, "audit");
});

test("a run changes on the open page while a worker handles it", async () => {
  const { id } = await server.create({ name: "follow", queue: "follow" });
  const { runs } = await server.until(`/v1/runs?task_id=${id}`, (found) => found.runs[0]?.state === "ready");
  await go(`/console/runs/${runs[0].run_id}`);
  const state = page.locator(".head .st");
  await state.filter({ hasText: "Ready" }).waitFor();
  await server.work("follow", 1, () => ({ outcome: "succeeded", result: { mails: 3 } }));
  await state.filter({ hasText: "Succeeded" }).waitFor({ timeout: 20_000 });
});

test("new rows wait behind a button, and focus stays", async () => {
  await server.create({ name: "rows", delay_ms: 3_600_000 });
  await go("/console/tasks");
  await page.getByRole("searchbox").focus();
  await server.create({ name: "rows.new", delay_ms: 3_600_000 });
  const more = page.getByRole("button", { name: /Show \d+ new/ });
  await more.waitFor({ timeout: 20_000 });
  assert.equal(await rowOf("rows.new").count(), 0);
  assert.ok(await page.getByRole("searchbox").evaluate((box) => box === document.activeElement));
  await more.click();
  await rowOf("rows.new").waitFor();
});

test("a dead run is found and retried", async () => {
  const { id } = await server.create({ name: "dies", queue: "dies" });
  await server.work("dies", 1, () => ({ outcome: "dead", message: "no such order" }));
  await go("/");
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await page.waitForURL(/dead-letters/);
  await page.getByRole("row").filter({ hasText: "no such order" }).getByRole("link").first().click();
  await link("Retry").click();
  await page.getByRole("button", { name: /^Retry/ }).click();
  await page.getByText("The run gets another attempt.").waitFor();
  await server.work("dies", 1, () => ({ outcome: "succeeded" }));
  const { runs } = await server.call("GET", `/v1/runs?task_id=${id}`);
  assert.deepEqual([runs[0].state, runs[0].attempt], ["succeeded", 2]);
});

test("all tasks that match a filter are paused, and the operation is followed", async () => {
  for (let number = 0; number < 3; number += 1) await server.create({ name: "bulk.pause", delay_ms: 3_600_000 });
  await go("/console/tasks?q=name%3Abulk.pause");
  const bar = page.getByRole("form", { name: "Bulk actions" });
  assert.equal(await bar.isVisible(), false, "nothing is selected");
  await page.getByRole("checkbox", { name: "Select all on this page" }).check();
  await bar.getByText("3 selected").waitFor();
  await bar.getByLabel("All rows that match the filter").check();
  await page.getByRole("button", { name: "Pause tasks" }).click();
  await page.getByText("name:bulk.pause").waitFor();
  await page.getByLabel("Reason").fill("upgrade");
  // Slow enough that the page shows the operation while it runs.
  await page.getByLabel("Rate").fill("1");
  await button("Pause tasks").click();
  await heading(/Pause tasks/).waitFor();
  await link("Abort").waitFor();
  await page.locator(".head .st").filter({ hasText: "Completed" }).waitFor({ timeout: 30_000 });
  await page.getByText("3 of 3").waitFor();
  const { tasks } = await server.call("GET", "/v1/tasks?name=bulk.pause&state=paused");
  assert.equal(tasks.length, 3);
  await page.keyboard.press("g");
  await page.keyboard.press("p");
  await heading("Operations").waitFor();
  await page.getByRole("row").filter({ hasText: "upgrade" }).waitFor();
  assertNoProblems(page, "operations");
});

test("selected dead runs are redriven, also without scripts", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const queue = `redrive.${javaScriptEnabled}`;
    const { id } = await server.create({ name: queue, queue });
    await server.work(queue, 1, () => ({ outcome: "dead", message: "no such order" }));
    const other = await open(browser, server.url, { javaScriptEnabled });
    await other.goto(`${server.url}/console/dead-letters?q=tag%3A${queue}`);
    await other.getByRole("checkbox", { name: `Select ${queue}` }).check();
    await other.getByRole("button", { name: "Redrive runs" }).click();
    await other.getByText("1 selected").waitFor();
    await other.getByRole("button", { name: "Redrive runs" }).click();
    await other.getByRole("heading", { level: 1, name: /Redrive runs/ }).waitFor();
    await server.work(queue, 1, () => ({ outcome: "succeeded" }));
    const { runs } = await server.call("GET", `/v1/runs?task_id=${id}`);
    assert.deepEqual([runs[0].state, runs[0].attempt], ["succeeded", 2]);
    await other.context().close();
  }
});

test("a selection survives an update of the page", async () => {
  const { id } = await server.create({ name: "bulk.keep", delay_ms: 3_600_000 });
  await go("/console/tasks?q=name%3Abulk.keep");
  const box = page.getByRole("checkbox", { name: "Select bulk.keep" });
  await box.check();
  await heading("Tasks").click();
  await server.call("POST", `/v1/tasks/${id}/pause`);
  await page.keyboard.press(".");
  await page.getByRole("row").filter({ hasText: "bulk.keep" }).getByText("Paused").waitFor({ timeout: 20_000 });
  assert.equal(await box.isChecked(), true);
});

test("a log grows on the open page, and older lines are behind a link", async () => {
  const { id } = await server.create({ name: "logs", queue: "logs" });
  await server.work("logs", 1, async (run) => {
    await server.log(run, Array.from({ length: 120 }, (_, at) => `first-${at + 1}`));
    await go(`/console/runs/${run.run_id}`);
    const log = page.getByRole("region", { name: "Log" });
    await log.getByText("first-120").waitFor();
    assert.equal(await log.getByText("first-20", { exact: true }).count(), 0);
    await server.log(run, ["<b>second</b>"]);
    await log.getByText("<b>second</b>").waitFor({ timeout: 20_000 });
    await link("Older lines").click();
    await log.getByText("first-20", { exact: true }).waitFor();
    return { outcome: "succeeded" };
  });
  assert.equal((await server.call("GET", `/v1/runs?task_id=${id}`)).runs[0].state, "succeeded");
  assertNoProblems(page, "log");
});

test("a slower editor sees the conflict and loses nothing", async () => {
  const { id } = await server.create({ name: "shared", data: "one", delay_ms: 3_600_000 });
  await go(`/console/tasks/${id}/edit`);
  await page.getByLabel("Payload").fill("mine");
  await server.call("PATCH", `/v1/tasks/${id}`, { data: "theirs" });
  await button("Save").click();
  await page.getByRole("alert").filter({ hasText: "Somebody has saved another definition" }).waitFor();
  assert.equal((await task(id)).data, "theirs");
  assert.equal(await page.getByLabel("Payload").inputValue(), "mine");
  await button("Save").click();
  await page.getByText("The definition is saved.").waitFor();
  assert.equal((await task(id)).data, "mine");
});

test("changes of two editors are merged, and a start keeps its milliseconds", async () => {
  const start_at = new Date(Math.ceil((Date.now() + 3_600_000) / 60_000) * 60_000 + 123).toISOString();
  const schedule = { kind: "every", period_ms: 3_600_000 };
  const { id } = await server.create({ name: "merged", data: "one", schedule, start_at });
  await go(`/console/tasks/${id}/edit`);
  await page.getByLabel("Payload").fill("mine");
  await server.call("PATCH", `/v1/tasks/${id}`, { labels: { team: "theirs" }, max_fires: 7 });
  await button("Save").click();
  await page.getByRole("alert").filter({ hasText: "Somebody has saved another definition" }).waitFor();
  await button("Save").click();
  await page.getByText("The definition is saved.").waitFor();
  const { data, labels, max_fires, start_at: kept } = await task(id);
  assert.deepEqual([data, labels, max_fires, kept], ["mine", { team: "theirs" }, 7, start_at]);
});

test("the keyboard is enough", async () => {
  await server.create({ name: "keyboard", delay_ms: 3_600_000 });
  await go("/");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("t");
  await page.waitForURL(/tasks$/);
  await page.keyboard.press("j");
  const name = await page.evaluate(() => document.activeElement.textContent);
  await page.keyboard.press("Enter");
  await heading(name).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
});

test("language and theme are kept", async () => {
  await go("/console/tasks");
  await button("中文").click();
  await page.getByRole("heading", { level: 1, name: "任务" }).waitFor();
  assert.equal(await page.locator("html").getAttribute("lang"), "zh");
  await page.getByRole("button", { name: "English" }).click();
  await heading("Tasks").waitFor();
  await page.locator('button[name="theme"]').click();
  await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
  await page.reload();
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
});

test("a phone has the menu behind a button", async () => {
  await page.setViewportSize(PHONE);
  await go("/");
  await page.getByRole("button", { name: "Menu" }).click();
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Queues" }).click();
  await heading("Queues").waitFor();
});
