// Names, payloads, errors and results with markup: nothing of it runs, and all of it is shown as text.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertNoProblems, launch, open } from "./console.mjs";
import { alertsTo, startReceiver } from "./receiver.mjs";
import { start } from "./server.mjs";

const MARKUP = `"'><img src=x onerror=alert(1)><script>alert(2)</script></textarea></title><svg onload=alert(3)>`;

// A label has at most 63 characters.
const LABEL = MARKUP.slice(0, 63);

let browser, receiver, server;

before(async () => {
  receiver = await startReceiver(400, MARKUP);
  [browser, server] = await Promise.all([launch(), start(alertsTo(receiver.url))]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await receiver?.stop();
});

test("markup in every field is text", async () => {
  // A tag has no `|` and no `*`; a name with markup needs neither.
  const { id } = await server.create({
    name: MARKUP,
    data: MARKUP,
    queue: "hostile",
    dedup_key: MARKUP,
    headers: { "x-note": MARKUP },
    labels: { team: LABEL },
  });
  await server.work("hostile", 1, async (run) => {
    await server.log(run, [MARKUP]);
    return { outcome: "dead", message: MARKUP };
  });
  const operation = await server.operate({ action: "pause", select: { ids: [id] }, reason: MARKUP });
  const other = await server.create({ name: `result ${MARKUP}`, queue: MARKUP });
  await server.work(MARKUP, 1, () => ({ outcome: "succeeded", result: { note: MARKUP } }));
  await server.create({ name: `waits ${MARKUP}`, queue: `q ${MARKUP}` });
  await server.create({ name: `held ${MARKUP}`, queue: `held ${MARKUP}` });
  const lease = { worker: MARKUP, queues: [`held ${MARKUP}`], limit: 1, wait_ms: 10_000, lease_ms: 600_000 };
  await server.call("POST", "/v1/runs/lease", lease);
  const until = new Date(Date.now() + 3_600_000).toISOString();
  const silence = await server.call("POST", "/v1/alerts/silences", { subject: MARKUP, until, comment: MARKUP });
  await server.call("POST", "/v1/alerts/channels/ops/test");
  await server.until("/v1/alerts", ({ alerts }) => alerts.some(({ subject }) => subject?.includes("<script>")));
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
    `/console/runs?q=${encodeURIComponent(`error:${JSON.stringify(MARKUP)}`)}`,
    `/console/tasks?q=${encodeURIComponent(`label.team:${JSON.stringify(LABEL)}`)}`,
    ...runs.map((run) => `/console/runs/${run}`),
    "/console/dead-letters",
    "/console/operations",
    `/console/operations/${operation.id}`,
    `/console/operations/${operation.id}/abort`,
    `/console/operations/new?action=pause&all=1&q=${filter}`,
    `/console/operations/new?action=pause&id=${filter}`,
    "/console/queues",
    "/console/workers",
    "/console/alerts",
    `/console/alerts/silences/new?rule=${filter}&subject=${filter}&comment=${filter}`,
    `/console/alerts/silences/${silence.id}/end`,
    `/console/holds/new?name=${filter}&reason=${filter}`,
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
