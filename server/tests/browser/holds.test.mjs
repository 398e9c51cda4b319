// What an operator does before a deployment: hold a queue, see why its runs wait, and end the hold.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { assertNoProblems, launch, open } from "./console.mjs";
import { start } from "./server.mjs";

let browser, server, page;

before(async () => {
  [browser, server] = await Promise.all([launch(), start()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

beforeEach(async () => {
  page = await open(browser, server.url);
});

afterEach(() => page.context().close());

const button = (name) => page.getByRole("button", { name, exact: true });

test("a queue is held, and the hold is ended", async () => {
  await server.create({ name: "mail.send", queue: "mail" });
  await server.until("/v1/queues", ({ queues }) => queues.some(({ queue }) => queue === "mail"));
  await page.goto(`${server.url}/console/queues`);
  await page.getByRole("link", { name: "Hold: mail" }).click();
  assert.equal(await page.getByLabel("Name").inputValue(), "mail");
  await page.getByLabel("Duration").fill("30");
  await page.getByLabel("Reason").fill("deploy 2.1");
  await button("Create hold").click();
  await page.getByText("The hold is created.").waitFor();
  await page.getByRole("row").filter({ hasText: "deploy 2.1" }).waitFor();
  const { holds } = await server.call("GET", "/v1/holds");
  assert.deepEqual(holds.map(({ scope, name }) => [scope, name]), [["queue", "mail"]]);
  await page.getByRole("link", { name: "End hold: mail" }).click();
  await button("End hold").click();
  await page.getByText("The hold is ended.").waitFor();
  await page.getByText("Nothing is on hold.").waitFor();
  assert.deepEqual((await server.call("GET", "/v1/holds")).holds, []);
  assertNoProblems(page, "hold");
});
