// Every page in both themes, both languages, and on a phone: accessible, no sideways scroll, no error.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assertAccessible, assertFits, assertNoProblems, launch, open, PHONE, WIDE } from "./console.mjs";
import { alertsTo } from "./receiver.mjs";
import { fill } from "./sample.mjs";
import { start } from "./server.mjs";

/** Directory for pictures of every page. */
const PICTURES = process.env.TASKCENTER_PICTURES;
const LOOKS = [
  { name: "light", viewport: WIDE, theme: "light", lang: "en-US" },
  { name: "dark", viewport: WIDE, theme: "dark", lang: "en-US" },
  { name: "zh", viewport: WIDE, theme: "light", lang: "zh-CN" },
  { name: "phone", viewport: PHONE, theme: "light", lang: "en-US" },
];

let browser, server, ids, run;

before(async () => {
  // Nothing listens at this address, so that the channel has an error.
  [browser, server] = await Promise.all([launch(), start(alertsTo("http://127.0.0.1:9/"))]);
  ids = await fill(server);
  run = (await server.call("GET", `/v1/runs?task_id=${ids.dead.id}`)).runs[0].run_id;
  if (PICTURES) await mkdir(PICTURES, { recursive: true });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const pages = () => ({
  overview: "/",
  tasks: "/console/tasks",
  task: `/console/tasks/${ids.nightly.id}`,
  "task-history": `/console/tasks/${ids.paused.id}/revisions`,
  "tasks-filtered": "/console/tasks?q=name%3Areport.daily",
  "task-trigger": `/console/tasks/${ids.nightly.id}/trigger`,
  "task-new": "/console/tasks/new",
  "task-edit": `/console/tasks/${ids.nightly.id}/edit`,
  runs: "/console/runs",
  run: `/console/runs/${run}`,
  "run-retry": `/console/runs/${run}/retry`,
  queues: "/console/queues",
  workers: "/console/workers",
  alerts: "/console/alerts",
  hold: "/console/holds/new?scope=queue&name=nobody",
  silence: "/console/alerts/silences/new?rule=no_worker&subject=nobody",
  "runs-error": "/console/runs?q=error%3Afull",
  "runs-searched": "/console/runs?q=error%3Afull+state%3Adead",
  "dead-letters": "/console/dead-letters",
  operations: "/console/operations",
  operation: `/console/operations/${ids.operation.id}`,
  "operation-new": "/console/operations/new?action=pause&all=1&q=state%3Aactive",
  "operation-refused": "/console/operations/new?action=pause",
  services: "/console/services",
  calendars: "/console/calendars",
  calendar: "/console/calendars/cn-workdays",
  "calendar-delete": "/console/calendars/cn-workdays/delete",
  "calendar-new": "/console/calendars/new",
  access: "/console/access",
  "access-user": "/console/access/users/new",
  "access-user-edit": "/console/access/users/edit?name=mia",
  "access-user-remove": "/console/access/users/remove?name=mia",
  "access-token": "/console/access/tokens/new",
  audit: "/console/audit",
  "sign-in": "/console/sign-in",
  unknown: "/console/no-such-page",
});

for (const look of LOOKS) {
  test(`every page is accessible and fits: ${look.name}`, async () => {
    const page = await open(browser, server.url, look);
    for (const [name, path] of Object.entries(pages())) {
      const where = `${name}, ${look.name}`;
      page.problems.length = 0;
      await page.goto(server.url + path);
      // Shows the bar with the bulk actions.
      const row = page.locator("td.pick input").first();
      if (await row.count()) await row.check();
      await assertAccessible(page, where);
      // The browser reports the status of a page that does not exist or is refused.
      if (!["unknown", "operation-refused"].includes(name)) assertNoProblems(page, where);
      if (PICTURES) await page.screenshot({ path: join(PICTURES, `${name}-${look.name}.png`), fullPage: true });
      await showWidestDates(page);
      await assertFits(page, where);
      if (look.name === "light") await assertFitsTablets(page, where);
    }
    await page.context().close();
  });
}

/** Asserts that windows between a phone and a screen do not scroll sideways, and restores the window. */
async function assertFitsTablets(page, where) {
  const before = page.viewportSize();
  for (const width of [768, 1024, 3840]) {
    await page.setViewportSize({ ...before, width });
    await assertFits(page, `${where}, ${width} px`);
  }
  await page.setViewportSize(before);
}

/** Replaces days and months by the widest ones, so that the result is the same on each day. */
async function showWidestDates(page) {
  await page.evaluate(() => {
    for (const time of document.querySelectorAll("time")) {
      const text = time.firstChild;
      text.data = text.data.replace(/^[A-Z][a-z]{2} \d+ [A-Z][a-z]{2}/, "Wed 28 Mar");
    }
  });
}

test("every page can be read without scripts", async () => {
  const page = await open(browser, server.url, { javaScriptEnabled: false });
  for (const [name, path] of Object.entries(pages())) {
    await page.goto(server.url + path);
    await page.getByRole("heading", { level: 1 }).waitFor({ timeout: 2_000 }).catch(() => {
      throw new Error(`${name} has no heading`);
    });
  }
  await page.context().close();
});

test("the longest name breaks, and no page scrolls sideways on a phone", async () => {
  const name = "n".repeat(128);
  await server.create({ name, queue: name });
  await server.until("/v1/alerts", ({ alerts }) => alerts.some(({ subject }) => subject === name));
  const page = await open(browser, server.url, { viewport: PHONE });
  for (const list of ["", "console/tasks", "console/runs", "console/queues", "console/alerts", "console/audit"]) {
    await page.goto(`${server.url}/${list}`);
    if (list !== "console/audit") await page.getByText(name).first().waitFor();
    await assertFits(page, `/${list}`);
  }
  await page.context().close();
});
