// Finding one thing among many: labels, the filter line with its completion, and actions on what was found.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertNoProblems, open } from "./console.mjs";
import { page } from "./page.mjs";
import { browser, server } from "./session.mjs";

const HOUR_MS = 3_600_000;
const line = () => page.getByRole("searchbox");
const link = (name) => page.getByRole("link", { name, exact: true });
const button = (name) => page.getByRole("button", { name, exact: true });

test("a label leads to the tasks with the same label, and all of them are paused", async () => {
  for (const team of ["pay 1", "pay 1", "mail"]) {
    await server.create({ name: `of ${team}`, labels: { team }, delay_ms: HOUR_MS });
  }
  await page.goto(`${server.url}/console/tasks`);
  await link("team: pay 1").first().click();
  assert.equal(await line().inputValue(), 'label.team:"pay 1"');
  assert.equal(await link("of mail").count(), 0);
  await page.getByRole("checkbox", { name: "Select all on this page" }).check();
  await page.getByRole("checkbox", { name: "All rows that match the filter" }).check();
  await page.getByRole("button", { name: "Pause tasks" }).click();
  await page.getByText('label.team:"pay 1"').waitFor();
  await button("Pause tasks").click();
  await page.locator(".head .st").filter({ hasText: "Completed" }).waitFor({ timeout: 30_000 });
  const { tasks } = await server.call("GET", "/v1/tasks?state=paused");
  assert.deepEqual(tasks.map(({ labels }) => labels.team), ["pay 1", "pay 1"]);
  assertNoProblems(page, "labels");
});

test("labels are edited in the form of a task", async () => {
  const { id } = await server.create({ name: "edit.labels", labels: { team: "a" }, delay_ms: HOUR_MS });
  await page.goto(`${server.url}/console/tasks/${id}/edit`);
  await page.getByLabel("Labels").fill("team=b\ntier=1");
  await button("Save").click();
  await link("team: b").waitFor();
  assert.deepEqual((await server.call("GET", `/v1/tasks/${id}`)).labels, { team: "b", tier: "1" });
});

test("the line completes keys, states and names, with the keyboard alone", async () => {
  await server.create({ name: "complete me", queue: "complete" });
  await server.work("complete", 1, () => ({ outcome: "dead", message: "no such order" }));
  await page.goto(`${server.url}/console/runs`);
  const words = page.waitForResponse(/filter-words/);
  await line().focus();
  await words;
  await page.keyboard.type("sta");
  await button("state:").waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.keyboard.type("de");
  await button("state:dead").waitFor();
  await assertAccessible(page, "suggestions");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.keyboard.type("tag:");
  await button('tag:"complete me"').click();
  assert.equal(await line().inputValue(), 'state:dead tag:"complete me" ');
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=state/);
  await page.getByText("no such order").waitFor();
  assertNoProblems(page, "completion");
});

test("a filter that no index serves offers one that an index serves, also without scripts", async () => {
  await server.create({ name: "offer", queue: "offer" });
  await server.work("offer", 1, () => ({ outcome: "dead", message: "the mailbox is full" }));
  const other = await open(browser, server.url, { javaScriptEnabled: false });
  await other.goto(`${server.url}/console/runs`);
  await other.getByRole("searchbox").fill('error:"is full"');
  await other.getByRole("button", { name: "Apply" }).click();
  await other.getByRole("link", { name: 'error:"is full" state:dead' }).click();
  await other.getByText("the mailbox is full").waitFor();
  await other.getByText("No index serves the whole filter (error)").waitFor();
  await other.context().close();
});
