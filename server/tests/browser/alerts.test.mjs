// What an operator does with alerts and workers: see, silence, test a channel, and follow what a worker holds.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { assertNoProblems, launch, open } from "./console.mjs";
import { alertsTo, startReceiver } from "./receiver.mjs";
import { start } from "./server.mjs";

let browser, receiver, server, page;

before(async () => {
  receiver = await startReceiver();
  [browser, server] = await Promise.all([launch(), start(alertsTo(receiver.url))]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await receiver?.stop();
});

beforeEach(async () => {
  page = await open(browser, server.url);
});

afterEach(() => page.context().close());

const heading = (name) => page.getByRole("heading", { level: 1, name });
const button = (name) => page.getByRole("button", { name, exact: true });

test("an alert is seen on the overview, silenced, and sent again after the silence", async () => {
  await server.create({ name: "pay.card", queue: "pay.card" });
  const isRaised = ({ alerts }) => alerts.some(({ subject }) => subject === "pay.card");
  await server.until("/v1/alerts", isRaised);
  await page.goto(server.url);
  await page.getByRole("alert").filter({ hasText: "pay.card" }).getByRole("link", { name: "Show" }).click();
  await page.goto(`${server.url}/console/alerts`);
  await heading("Alerts").waitFor();
  await page.getByRole("link", { name: /^Silence alerts: .*pay\.card/ }).click();
  assert.equal(await page.getByLabel("Subject").inputValue(), "pay.card");
  await page.getByLabel("Subject").fill("pay.*");
  await page.getByLabel("Ends after").fill("30");
  await page.getByLabel("Unit").selectOption("min");
  await page.getByLabel("Reason").fill("new card service");
  await button("Create silence").click();
  await page.getByText("The silence is created.").waitFor();
  await page.getByRole("row").filter({ hasText: "new card service" }).waitFor();
  const { alerts } = await server.call("GET", "/v1/alerts");
  assert.ok(alerts.find(({ subject }) => subject === "pay.card").silenced_by);
  await page.getByRole("link", { name: /^End silence: .*pay\.\*/ }).click();
  await button("End silence").click();
  await page.getByText("The silence is ended.").waitFor();
  assert.deepEqual((await server.call("GET", "/v1/alerts")).silences, []);
  assertNoProblems(page, "silence");
});

test("a test message reaches the receiver, also without scripts", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const earlier = receiver.messages.filter(({ type }) => type === "alert.test").length;
    const other = await open(browser, server.url, { javaScriptEnabled });
    await other.goto(`${server.url}/console/alerts`);
    await other.getByRole("button", { name: "Send a test: ops" }).click();
    await other.getByText("The receiver has accepted the test message.").waitFor();
    const tests = receiver.messages.filter(({ type }) => type === "alert.test").length;
    assert.equal(tests, earlier + 1);
    await other.context().close();
  }
});

test("a worker is found with the run that it holds", async () => {
  const { id } = await server.create({ name: "held", queue: "held" });
  const lease = { worker: "host-7", queues: ["held"], limit: 1, wait_ms: 10_000, lease_ms: 600_000 };
  const { runs } = await server.call("POST", "/v1/runs/lease", lease);
  assert.equal(runs[0].task_id, id);
  await page.goto(server.url);
  await page.keyboard.press("g");
  await page.keyboard.press("w");
  await heading("Workers and nodes").waitFor();
  const row = page.getByRole("row").filter({ hasText: "host-7" });
  await row.getByRole("link", { name: "held" }).click();
  await page.getByText("Worker host-7 holds the run.").waitFor();
  assertNoProblems(page, "workers");
});
