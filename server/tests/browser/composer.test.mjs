// The form for tasks composes a cron expression, and shows what an absence of the server would do.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertFits, assertNoProblems, open, PHONE } from "./console.mjs";
import { browser, server } from "./session.mjs";

const cron = (page) => page.getByRole("textbox", { name: "By a cron expression" });

/** Returns the schedule of the task that the form creates. */
async function create(page) {
  await page.getByRole("button", { name: "Create", exact: true }).click();
  await page.getByText("The task is created.").waitFor();
  return (await server.call("GET", `/v1/tasks/${new URL(page.url()).pathname.split("/").pop()}`)).schedule;
}

test("choices and words compose an expression while a person types", async () => {
  const page = await open(browser, server.url);
  await page.goto(`${server.url}/console/tasks/new`);
  await page.getByLabel("Name").fill("composed");
  await page.getByText("Compose an expression").click();
  await page.getByLabel("How often").selectOption("weekdays");
  await page.getByLabel("Time", { exact: true }).fill("09:30");
  assert.equal(await page.getByLabel("Day of the month").isVisible(), false);
  await page.getByText("Monday to Friday at 09:30").waitFor();
  assert.equal(await cron(page).inputValue(), "30 9 * * 1-5");
  await page.getByLabel("In words").fill("每月 15 日 8:00");
  await page.getByText("On day 15 of every month at 08:00").waitFor();
  assert.equal(await cron(page).inputValue(), "0 8 15 * *");
  await page.getByLabel("In words").press("Enter");
  // A field that changes right after the words does not lose them.
  await page.getByLabel("In words").fill("every day at noon");
  await page.getByLabel("Fires at most").evaluate((field) => field.dispatchEvent(new Event("input", { bubbles: true })));
  await page.getByText("Every day at 12:00").waitFor();
  await page.getByLabel("In words").fill("every 7 minutes");
  await page.getByText("Every 7 min", { exact: true }).waitFor();
  assert.equal(await page.getByRole("radio", { name: "At a fixed rate" }).isChecked(), true);
  assert.equal(await page.getByLabel("Period").inputValue(), "7");
  await page.getByLabel("In words").fill("on day 15 of every month at 8:00");
  await page.getByText("On day 15 of every month at 08:00").waitFor();
  await page.getByLabel("Time zone").fill("Europe/Berlin");
  await page.getByText("What if the server was away?").click();
  await page.getByLabel("Away from").fill("2034-01-01T00:00:00");
  await page.getByLabel("Back at").fill("2034-03-01T00:00:00");
  await page.getByLabel("Policy to try").selectOption("skip");
  await page.getByText("2 moments skipped").waitFor();
  await assertAccessible(page, "composer");
  assertNoProblems(page, "composer");
  await page.setViewportSize(PHONE);
  await assertFits(page, "composer");
  assert.deepEqual(await create(page), { kind: "cron", cron: "0 8 15 * *", zone: "Europe/Berlin" });
  await page.context().close();
});

test("choices compose an expression without scripts", async () => {
  const page = await open(browser, server.url, { javaScriptEnabled: false });
  await page.goto(`${server.url}/console/tasks/new`);
  await page.getByLabel("Name").fill("composed.plain");
  await page.getByText("Compose an expression").click();
  await page.getByLabel("How often").selectOption("weekly");
  await page.getByLabel("Day of the week").selectOption("5");
  await page.getByLabel("Time", { exact: true }).fill("18:00");
  await page.getByRole("button", { name: "Use these choices" }).click();
  await page.getByText("Every Friday at 18:00").waitFor();
  assert.equal((await create(page)).cron, "0 18 * * 5");
  await page.context().close();
});
