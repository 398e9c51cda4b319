// The daily chores of docs/compare.md in the real console. Each test counts its steps and compares them with the table.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { assertNoProblems, launch, open } from "./console.mjs";
import { Operator } from "./operator.mjs";
import { start } from "./server.mjs";

const HOUR_MS = 3_600_000;
const HOURLY = { schedule: { kind: "every", period_ms: HOUR_MS }, delay_ms: HOUR_MS };

/** Settings of a server whose alerts do not wait. */
const WITHOUT_DELAY = { TASKCENTER__ENGINE__BACKLOG_SEC: "1", TASKCENTER__ALERTS__RULES__NO_WORKER__FOR_SEC: "0" };

let browser, server, page, operator, rows, text;

/** Returns the rows of the table: number, chore, and the cell of each console. */
function table(markdown) {
  const lines = markdown.split("\n").filter((line) => /^\| *\d+ *\|/.test(line));
  return lines.map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

/** Returns the steps in a cell. A chore that is not possible needs more steps than any other. */
const steps = (cell) => (/^\d/.test(cell) ? Number.parseInt(cell, 10) : Infinity);

before(async () => {
  text = await readFile(join(process.env.TASKCENTER_DOCS, "compare.md"), "utf8");
  rows = table(text);
  [browser, server] = await Promise.all([launch(), start(WITHOUT_DELAY)]);
  // More tasks than a page has rows.
  const others = Array.from({ length: 60 }, (_, at) => ({ name: `other.${at}`, delay_ms: HOUR_MS }));
  await Promise.all(others.map((task) => server.create(task)));
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

beforeEach(async () => {
  page = await open(browser, server.url);
  operator = new Operator(page, server.url);
});

afterEach(() => page.context().close());

const counted = [];

/** Defines the test of a chore. */
function chore(number, title, carryOut) {
  counted.push(number);
  test(`chore ${number}: ${title}`, async () => {
    const row = rows.find(([at]) => Number(at) === number);
    await carryOut();
    assertNoProblems(page, title);
    assert.equal(operator.steps, steps(row[2]), `steps in docs/compare.md: ${row[1]}`);
  });
}

/** Creates a task with a run that is dead. */
async function dead(name, more = {}) {
  const { id } = await server.create({ name, queue: name, ...more });
  await server.work(name, 1, async (run) => {
    await server.log(run, ["connected to the mail server"]);
    return { outcome: "dead", message: "mailbox 2 is full" };
  });
  return (await server.call("GET", `/v1/runs?task_id=${id}`)).runs[0];
}

chore(1, "see whether runs have failed, and the latest error", async () => {
  await dead("mail.morning");
  await operator.begin("/");
  await operator.sees("mailbox 2 is full", operator.row("mail.morning"));
});

chore(2, "find a task, its last result and its next moment", async () => {
  const { id } = await server.create({ ...HOURLY, name: "report.weekly", queue: "report.weekly" });
  await server.call("POST", `/v1/tasks/${id}/trigger`);
  await server.work("report.weekly", 1, () => ({ outcome: "succeeded" }));
  await operator.begin("/");
  await operator.find("report.weekly");
  await operator.sees("Succeeded", operator.row("report.weekly"));
  await operator.sees(/^in \d/, operator.row("report.weekly"));
});

chore(3, "read the error and the log of the last run of a task", async () => {
  await dead("mail.read");
  await operator.begin("/");
  await operator.find("mail.read");
  await operator.press("Dead", { within: operator.row("mail.read") });
  await operator.sees("mailbox 2 is full");
  await operator.sees("connected to the mail server", page.getByRole("region", { name: "Log" }));
});

chore(4, "run a failed run again with a corrected payload", async () => {
  const { run_id } = await dead("mail.correct", { data: '{"to":"nobody"}' });
  await operator.begin(`/console/runs/${run_id}`);
  await operator.press(/^Retry/);
  await operator.fill(page.getByLabel("Payload of this run"), '{"to":"mia"}');
  await operator.sees('"to": "mia"', page.getByRole("region", { name: "Changes of the payload" }));
  await operator.press(/^Retry/, { role: "button" });
  await operator.sees("The run gets another attempt.");
  await server.work("mail.correct", 1, (run) => ({ outcome: run.data === '{"to":"mia"}' ? "succeeded" : "dead" }));
  assert.equal((await server.call("GET", `/v1/runs/${run_id}`)).state, "succeeded");
});

chore(5, "run all failed runs of one kind again", async () => {
  for (let number = 0; number < 3; number += 1) await dead("mail.all");
  await operator.begin("/");
  await operator.press(/^mail\.all \d+$/, { within: page.getByRole("navigation", { name: "Dead today" }) });
  await operator.press("Redrive runs: all that match…");
  await operator.sees("tag:mail.all");
  await operator.press("Redrive runs", { role: "button" });
  await operator.sees("3 of 3");
  await server.work("mail.all", 3, () => ({ outcome: "succeeded" }));
});

chore(6, "find out why a run does not start", async () => {
  await server.create({ name: "mail.waits", queue: "mail.waits" });
  await server.until("/v1/runs?tag=mail.waits", ({ runs }) => runs[0]?.state === "ready");
  await operator.begin("/");
  await operator.find("mail.waits");
  await operator.press("Ready", { within: operator.row("mail.waits") });
  await operator.sees("No worker takes runs from the queue mail.waits.");
});

chore(7, "change a schedule and check it over a change of the clocks", async () => {
  const schedule = { kind: "cron", cron: "0 9 * * *", zone: "Europe/Berlin" };
  const { id } = await server.create({ name: "report.clocks", schedule });
  await operator.begin(`/console/tasks/${id}`);
  await operator.press("Edit");
  await operator.fill(page.getByRole("textbox", { name: "By a cron expression" }), "30 9 * * *");
  await operator.sees("Every day at 09:30");
  await operator.sees(/^Clock (back|forward)$/);
  await operator.press("Save", { role: "button" });
  await operator.sees("The definition is saved.");
  assert.equal((await server.call("GET", `/v1/tasks/${id}`)).schedule.cron, "30 9 * * *");
});

chore(8, "run a task now and see the result", async () => {
  const { id } = await server.create({ ...HOURLY, name: "report.now", queue: "report.now" });
  await operator.begin(`/console/tasks/${id}`);
  await operator.press(/^Trigger/);
  await operator.press("Trigger", { role: "button" });
  await operator.sees("The task has fired. This is the run.");
  await server.work("report.now", 1, () => ({ outcome: "succeeded", result: { pages: 7 } }));
  await operator.sees(page.locator(".head .st").filter({ hasText: "Succeeded" }));
});

chore(9, "pause all tasks of a team, and see that they are paused", async () => {
  for (const name of ["pay.card", "pay.cash"]) await server.create({ ...HOURLY, name, labels: { team: "pay" } });
  await operator.begin("/");
  await operator.find("label.team:pay");
  await operator.press("Pause tasks: all that match…");
  await operator.press("Pause tasks", { role: "button" });
  await operator.sees("2 of 2");
  await operator.press("Show these tasks");
  for (const name of ["pay.card", "pay.cash"]) await operator.sees("Paused", operator.row(name));
  assert.equal(await operator.row("other.1").count(), 0);
});

chore(10, "silence an alert for two hours", async () => {
  await server.create({ name: "mail.quiet", queue: "mail.quiet" });
  await server.until("/v1/alerts", ({ alerts }) => alerts.some(({ subject }) => subject === "mail.quiet"));
  await operator.begin("/");
  await operator.press(/^Silence alerts: .*mail\.quiet/);
  await operator.press("Create silence", { role: "button" });
  await operator.sees("The silence is created.");
  const { alerts, silences } = await server.call("GET", "/v1/alerts");
  const hours = (Date.parse(silences[0].until) - Date.parse(silences[0].created_at)) / HOUR_MS;
  assert.equal(Math.round(hours), 2);
  assert.ok(alerts.find(({ subject }) => subject === "mail.quiet").silenced_by);
});

test("the sentence above the table says what the table says", () => {
  const best = rows.filter(([, , here, ...peers]) => peers.slice(0, 3).every((peer) => steps(here) <= steps(peer)));
  const sentence = text.match(/In (\w+) of the (\w+) chores, taskcenter needs no more steps than XXL-JOB, Temporal UI and\s+Oban Web/);
  const words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
  assert.deepEqual(sentence?.slice(1), [words[best.length], words[rows.length]]);
  assert.deepEqual(rows.map(([number]) => Number(number)), counted, "each chore of the table is counted");
  assert.ok(rows.every((row) => row.length === 7));
});
