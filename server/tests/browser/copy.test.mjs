// Texts to copy: the copied requests and commands are run by a shell.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { assertAccessible, assertFits, assertNoProblems, launch, open, PHONE } from "./console.mjs";
import { start } from "./server.mjs";

let browser, server, token;

before(async () => {
  [browser, server] = await Promise.all([launch(), start()]);
  ({ token } = await server.call("POST", "/v1/tokens", { name: "mia", scopes: ["task:write"] }));
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Runs a text as a person does who has set the token. Returns what it prints, as JSON. */
async function run(text, input = "") {
  const path = `${dirname(process.env.TASKCENTER_TEST_BIN)}:${process.env.PATH}`;
  const env = { ...process.env, PATH: path, TASKCENTER_TOKEN: token, TASKCENTER_SERVER: server.url };
  const command = text.startsWith("taskcenter ") ? text.replace(/ -- /, " --json -- ") : `${text} --silent --fail`;
  const running = promisify(execFile)("sh", ["-c", command], { env });
  running.child.stdin.end(input);
  return (await running).stdout;
}

test("copied texts of a task work, and have no token", async () => {
  const page = await open(browser, server.url);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: server.url });
  await page.goto(`${server.url}/console/sign-in`);
  await page.getByLabel("Token").fill(token);
  await page.getByLabel("Token").press("Enter");
  await page.getByRole("heading", { level: 1 }).waitFor();
  const { id } = await server.create({ name: "copy", data: `{"it's":"<b>$HOME"}`, delay_ms: 3_600_000 });
  await page.goto(`${server.url}/console/tasks/${id}`);
  await page.getByText("Copy as curl, CLI or YAML").click();
  assert.ok(!(await page.content()).includes(token));
  await page.getByText("The texts have the address of this page").waitFor();
  for (const text of await page.locator("[data-copy-text]").allTextContents()) {
    assert.ok(!text.includes("TASKCENTER_SERVER"), text);
    assert.ok(!/^(curl|taskcenter) /.test(text) || text.includes(server.url), text);
  }
  const copy = async (name) => {
    await page.getByRole("button", { name, exact: true }).click();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  assert.equal(JSON.parse(await run(await copy("Copy curl: Show this view"))).id, id);
  assert.match(await run(await copy("Copy CLI: Show this view")), new RegExp(id));
  const created = JSON.parse(await run(await copy("Copy curl: Create the same task")));
  assert.notEqual(created.id, id);
  assert.equal(created.data, `{"it's":"<b>$HOME"}`);
  const added = JSON.parse(await run(await copy("Copy CLI: Create the same task")));
  assert.equal(added.data, `{"it's":"<b>$HOME"}`);
  const yaml = await copy("Copy YAML: Create the same task");
  assert.match(yaml, /^# taskcenter task add --file task.yaml\n/);
  const fromFile = JSON.parse(await run("taskcenter task add --json --file -", yaml));
  assert.equal(fromFile.data, `{"it's":"<b>$HOME"}`);
  const run_ = JSON.parse(await run(await copy("Copy curl: Trigger")));
  assert.equal(run_.triggered, true);
  await run(await copy("Copy CLI: Pause"));
  assert.equal((await server.call("GET", `/v1/tasks/${id}`)).state, "paused");
  await assertAccessible(page, "copy as");
  assertNoProblems(page, "copy as");
  await page.setViewportSize(PHONE);
  await assertFits(page, "copy as");
  await page.context().close();
});

test("an operation is copied as a file that the command line reads", async () => {
  const page = await open(browser, server.url, { javaScriptEnabled: false });
  const { id } = await server.create({ name: "copy.bulk", labels: { team: "no" }, delay_ms: 3_600_000 });
  await page.goto(`${server.url}/console/operations/new?q=label.team%3Ano&all=1&action=pause`);
  await page.getByText("Copy as curl, CLI or YAML").click();
  const yaml = await page.locator("[data-copy-text]").filter({ hasText: "# taskcenter operation create" }).textContent();
  await run("taskcenter operation create --file - --watch", yaml);
  assert.equal((await server.call("GET", `/v1/tasks/${id}`)).state, "paused");
  await page.context().close();
});

test("a list is copied with its filter, also without scripts", async () => {
  const page = await open(browser, server.url, { javaScriptEnabled: false });
  await server.create({ name: "copy.list", delay_ms: 3_600_000 });
  await page.goto(`${server.url}/console/tasks?q=name%3Acopy.list`);
  await page.getByText("Copy as curl, CLI or YAML").click();
  await page.getByText("The texts read the address from the variable TASKCENTER_SERVER").waitFor();
  const text = await page.locator("[data-copy-text]").first().textContent();
  const { tasks } = JSON.parse(await run(text));
  assert.deepEqual(tasks.map(({ name }) => name), ["copy.list"]);
  await page.context().close();
});
