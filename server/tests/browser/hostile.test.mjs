// Names, payloads, errors and results with markup: nothing of it runs, and all of it is shown as text.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertNoProblems, launch, open } from "./console.mjs";
import { start } from "./server.mjs";

const MARKUP = `"'><img src=x onerror=alert(1)><script>alert(2)</script></textarea></title><svg onload=alert(3)>`;

let browser, server;

before(async () => {
  [browser, server] = await Promise.all([launch(), start()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("markup in every field is text", async () => {
  // A tag has no `|` and no `*`; a name with markup needs neither.
  const { id } = await server.create({
    name: MARKUP,
    data: MARKUP,
    queue: "hostile",
    dedup_key: MARKUP,
    headers: { "x-note": MARKUP },
  });
  await server.work("hostile", 1, async (run) => {
    await server.log(run, [MARKUP]);
    return { outcome: "dead", message: MARKUP };
  });
  const operation = await server.operate({ action: "pause", select: { ids: [id] }, reason: MARKUP });
  const other = await server.create({ name: `result ${MARKUP}`, queue: MARKUP });
  await server.work(MARKUP, 1, () => ({ outcome: "succeeded", result: { note: MARKUP } }));
  await server.create({ name: `waits ${MARKUP}`, queue: `q ${MARKUP}` });
  const runs = [];
  for (const task of [id, other.id]) {
    runs.push((await server.call("GET", `/v1/runs?task_id=${task}`)).runs[0].run_id);
  }
  const filter = encodeURIComponent(MARKUP);
  const paths = [
    "/",
    "/console/tasks",
    `/console/tasks?q=${filter}`,
    `/console/tasks/${id}`,
    `/console/tasks/${id}/edit`,
    `/console/tasks/${id}/trigger`,
    `/console/tasks/${id}/cancel`,
    "/console/runs",
    `/console/runs?q=${filter}`,
    ...runs.map((run) => `/console/runs/${run}`),
    "/console/dead-letters",
    "/console/operations",
    `/console/operations/${operation.id}`,
    `/console/operations/${operation.id}/abort`,
    `/console/operations/new?action=pause&all=1&q=${filter}`,
    `/console/operations/new?action=pause&id=${filter}`,
    "/console/queues",
    `/console/${filter}`,
  ];
  const page = await open(browser, server.url);
  for (const path of paths) {
    page.problems.length = 0;
    const answer = await page.goto(server.url + path);
    const found = await page.evaluate(() => [
      document.querySelectorAll("img, [onerror], [onload], svg[onload]").length,
      [...document.scripts].filter((script) => !script.src).length,
    ]);
    assert.deepEqual(found, [0, 0], path);
    if (answer.ok()) assertNoProblems(page, path);
  }
  await page.context().close();
});
