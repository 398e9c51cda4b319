// Pages that change while they are open: in place, at the pace of events, and without events where these are blocked.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertNoProblems, open } from "./console.mjs";
import { page } from "./page.mjs";
import { browser, server } from "./session.mjs";

/** Shorter than the time after which a page reads itself without an event. */
const BY_EVENT = { timeout: 8000 };
const LATER = { delay_ms: 3_600_000 };

const status = (on = page) => on.locator("[data-status]");
const row = (name, on = page) => on.getByRole("row").filter({ hasText: name });
const pause = (id) => server.call("POST", `/v1/tasks/${id}/pause`);

async function show(state, on = page, options) {
  await status(on).filter({ hasText: state }).waitFor(options);
}

async function go(path, state = "Live") {
  await page.goto(server.url + path);
  await show(state);
}

test("a row changes in place by an event, and selection, focus and scroll position stay", async () => {
  const name = "live.row";
  const { id } = await server.create({ name, ...LATER });
  for (let number = 0; number < 40; number += 1) await server.create({ name: "live.fill", ...LATER });
  await go("/console/tasks");
  await page.evaluate(() => (globalThis.isSamePage = true));
  const box = page.getByRole("checkbox", { name: `Select ${name}` });
  await box.scrollIntoViewIfNeeded();
  await box.check();
  await page.evaluate((text) => {
    // A selection of text in another row.
    const other = [...document.querySelectorAll("tr")].find((row) => row.textContent.includes(text));
    getSelection().selectAllChildren(other.querySelector("a"));
  }, "live.fill");
  const before = await page.evaluate(() => [scrollY, String(getSelection())]);
  await pause(id);
  await row(name).getByText("Paused").waitFor(BY_EVENT);
  assert.deepEqual(await page.evaluate(() => [scrollY, String(getSelection())]), before);
  assert.equal(await box.isChecked(), true);
  assert.ok(await box.evaluate((element) => element === document.activeElement), "the focus stays");
  assert.ok(await page.evaluate(() => globalThis.isSamePage));
  assertNoProblems(page, "tasks");
});

test("new rows wait, are counted, and are inserted where they belong", async () => {
  await server.create({ name: "new.old", ...LATER });
  await go("/console/tasks");
  await page.evaluate(() => (globalThis.isSamePage = true));
  await page.getByRole("checkbox", { name: "Select new.old" }).check();
  const more = (count) => page.getByRole("button", { name: `Show ${count} new` });
  await server.create({ name: "new.first", ...LATER });
  await more(1).waitFor(BY_EVENT);
  await server.create({ name: "new.second", ...LATER });
  await more(2).waitFor(BY_EVENT);
  assert.equal(await row("new.first").count(), 0);
  await more(2).click();
  await row("new.first").waitFor();
  const names = await page.locator("[data-rows] > tr a.name").allTextContents();
  assert.deepEqual(names.slice(0, 3), ["new.second", "new.first", "new.old"]);
  assert.equal(await more(2).count(), 0);
  assert.equal(await page.getByRole("checkbox", { name: "Select new.old" }).isChecked(), true);
  assert.ok(await page.evaluate(() => globalThis.isSamePage), "the page was not loaded again");
});

test("a paused page stays as it is, and a resumed one catches up", async () => {
  const { id } = await server.create({ name: "pause.me", ...LATER });
  await go("/console/tasks");
  const other = await open(browser, server.url);
  await other.goto(`${server.url}/console/tasks`);
  await page.keyboard.press("Shift+P");
  await show("Paused");
  assert.equal(await status().getAttribute("aria-pressed"), "true");
  await pause(id);
  await row("pause.me", other).getByText("Paused").waitFor(BY_EVENT);
  await other.context().close();
  assert.equal(await row("pause.me").getByText("Paused").count(), 0);
  await status().click();
  await show("Live");
  await row("pause.me").getByText("Paused").waitFor(BY_EVENT);
});

test("a hidden page closes its stream, and a visible one opens another", async () => {
  await page.addInitScript(() => {
    const Original = EventSource;
    globalThis.sources = [];
    globalThis.EventSource = class extends Original {
      constructor(url) {
        super(url);
        globalThis.sources.push(this);
      }
    };
    globalThis.EventSource.CLOSED = Original.CLOSED;
    globalThis.hide = (hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    };
  });
  await go("/console/runs");
  const states = () => page.evaluate(() => globalThis.sources.map((source) => source.readyState));
  assert.deepEqual(await states(), [1]);
  await page.evaluate(() => globalThis.hide(true));
  assert.deepEqual(await states(), [2]);
  await page.evaluate(() => globalThis.hide(false));
  await show("Live");
  assert.deepEqual(await states(), [2, 1]);
});

test("a page asks by itself where the stream is blocked", async () => {
  const { id } = await server.create({ name: "blocked", ...LATER });
  await page.route("**/console/events*", (route) => route.abort());
  await go("/console/tasks", "Polling");
  await pause(id);
  await row("blocked").getByText("Paused").waitFor({ timeout: 20_000 });
});

test("a page without any answer says that it is stale, and recovers", async () => {
  await go("/console/tasks");
  await page.context().setOffline(true);
  await show("Stale", page, { timeout: 40_000 });
  await page.context().setOffline(false);
  await show("Live", page, { timeout: 60_000 });
});

test("the way to another page is not cancelled by a page that takes another form", async () => {
  const { id } = await server.create({ name: "live.leave", ...LATER });
  await go(`/console/tasks/${id}`);
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route(/console\/queues/, async (route) => {
    await held;
    await route.continue();
  });
  const asks = () => page.waitForResponse((answer) => answer.url().endsWith(id), BY_EVENT);
  const left = page.waitForURL(/console\/queues/);
  const answered = asks();
  await page.getByRole("link", { name: "Queues" }).first().click({ noWaitAfter: true });
  // The first run: a table where the page has none.
  await server.call("POST", `/v1/tasks/${id}/trigger`);
  await answered;
  // At the next answer, the page has dealt with the first one.
  const again = asks();
  await server.call("POST", `/v1/tasks/${id}/trigger`);
  await again;
  release();
  await left;
});

test("a log follows its end, and keeps the line that a person reads", async () => {
  const { id } = await server.create({ name: "live.log", queue: "live.log" });
  await server.work("live.log", 1, async (run) => {
    const write = (from, count) => server.log(run, Array.from({ length: count }, (_, at) => `line ${from + at}`));
    await write(1, 60);
    await go(`/console/runs/${run.run_id}`);
    const log = page.getByRole("region", { name: "Log" });
    const isVisible = (text) => log.evaluate((box, wanted) => {
      const line = [...box.querySelectorAll("li")].find((one) => one.textContent.includes(wanted));
      const [inner, outer] = [line?.getBoundingClientRect(), box.getBoundingClientRect()];
      return Boolean(inner && inner.bottom <= outer.bottom + 1 && inner.top >= outer.top - 1);
    }, text);
    const first = () => log.evaluate((box) => {
      const top = box.getBoundingClientRect().top;
      const line = [...box.querySelectorAll("li")].find((one) => one.getBoundingClientRect().bottom > top);
      return [line.textContent, Math.round(line.getBoundingClientRect().top - top)];
    });
    await log.getByText("line 60", { exact: true }).waitFor(BY_EVENT);
    assert.ok(await isVisible("line 60"), "a log shows its end first");
    await write(61, 5);
    await log.getByText("line 65", { exact: true }).waitFor(BY_EVENT);
    assert.ok(await isVisible("line 65"), "a log at its end follows");
    // Once without the focus, and once with it: the page changes less around the focus.
    for (const [from, prepare] of [[66, () => log.evaluate((box) => box.blur())], [71, () => log.focus()]]) {
      await prepare();
      await log.evaluate((box) => (box.scrollTop = -350));
      const before = await first();
      await write(from, 5);
      await log.getByText(`line ${from + 4}`, { exact: true }).waitFor(BY_EVENT);
      assert.deepEqual(await first(), before, "the line that a person reads stays");
    }
    return { outcome: "succeeded" };
  });
  assert.equal((await server.call("GET", `/v1/runs?task_id=${id}`)).runs[0].state, "succeeded");
  assertNoProblems(page, "log");
});

test("the runs of a worker that a person has unfolded stay unfolded", async () => {
  const hold = async (worker, count) => {
    for (let number = 0; number < count; number += 1) await server.create({ name: worker, queue: worker });
    const lease = { worker, queues: [worker], wait_ms: 10_000, lease_ms: 600_000 };
    for (let left = count; left > 0; ) {
      left -= (await server.call("POST", "/v1/runs/lease", { ...lease, limit: left })).runs.length;
    }
  };
  await hold("live.second", 5);
  await go("/console/workers", "Live");
  const details = row("live.second").locator("details");
  await details.locator("summary").click();
  await page.evaluate(() => document.activeElement.blur());
  await hold("live.first", 5);
  await page.keyboard.press(".");
  await row("live.first").waitFor({ timeout: 20_000 });
  assert.ok(await details.evaluate((element) => element.open), "it stays open");
  assert.equal(await row("live.first").locator("details").evaluate((element) => element.open), false);
});
