// Other payloads for a run: a trigger, and a redrive whose changes are shown first.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertNoProblems, open } from "./console.mjs";
import { browser, server } from "./session.mjs";

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? "with scripts" : "without scripts";

  test(`a task is triggered with another payload, and its run shows the payload, ${how}`, async () => {
    const page = await open(browser, server.url, { javaScriptEnabled });
    const { id } = await server.create({ name: "other", data: '{"id":7}', delay_ms: 3_600_000 });
    await page.goto(`${server.url}/console/tasks/${id}`);
    await page.getByRole("link", { name: "Trigger" }).click();
    const field = page.getByLabel("Payload of this run");
    assert.equal(await field.inputValue(), '{"id":7}');
    await field.fill('{"id":8}');
    await page.getByRole("button", { name: "Trigger", exact: true }).click();
    await page.getByText("The task has fired. This is the run.").waitFor();
    await page.getByText('{"id":8}', { exact: true }).waitFor();
    const { runs } = await server.call("GET", `/v1/runs?task_id=${id}`);
    assert.equal(runs.length, 1);
    assert.equal((await server.call("GET", `/v1/tasks/${id}`)).data, '{"id":7}');
    if (javaScriptEnabled) assertNoProblems(page, "trigger");
    await page.context().close();
  });

  test(`a dead run is redriven with an edited payload after its changes were shown, ${how}`, async () => {
    const page = await open(browser, server.url, { javaScriptEnabled });
    const queue = `edit.${javaScriptEnabled}`;
    const { id } = await server.create({ name: queue, queue, data: '{"id":7,"to":"a"}' });
    await server.work(queue, 1, () => ({ outcome: "dead", message: "no such order" }));
    await page.goto(`${server.url}/console/dead-letters?q=tag%3A${queue}`);
    await page.getByRole("row").filter({ hasText: "no such order" }).getByRole("link").first().click();
    await page.getByRole("link", { name: "Retry" }).click();
    const field = page.getByLabel("Payload of this run");
    await field.fill('{"id":8,"to":"a"}');
    await page.getByRole("button", { name: "Show changes" }).click();
    const changes = page.getByRole("region", { name: "Changes of the payload" });
    assert.deepEqual(await changes.locator(".del, .add").allTextContents(), ['  "id": 7,', '  "id": 8,']);
    if (javaScriptEnabled) await assertAccessible(page, "changes");
    await page.getByRole("button", { name: "Edit again" }).click();
    assert.equal(await field.inputValue(), '{"id":8,"to":"a"}');
    await page.getByRole("button", { name: /^Retry/ }).click();
    await changes.waitFor();
    await page.getByRole("button", { name: /^Retry/ }).click();
    await page.getByText("The run gets another attempt.").waitFor();
    await server.work(queue, 1, (run) => ({ outcome: run.data === '{"id":8,"to":"a"}' ? "succeeded" : "dead" }));
    const { runs } = await server.call("GET", `/v1/runs?task_id=${id}`);
    assert.deepEqual([runs[0].state, runs[0].attempt], ["succeeded", 2]);
    await page.reload();
    await page.getByText("Original payload").click();
    await page.getByText('{"id":7,"to":"a"}', { exact: true }).waitFor();
    await page.context().close();
  });
}
