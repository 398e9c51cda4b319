// Sign-in, and the end of a session.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, FORWARDED, open, PASSWORD, signIn } from "./console.mjs";
import { browser, server } from "./session.mjs";

const addUser = (name) => server.call("POST", "/v1/users", { name, password: PASSWORD, role: "operator" });

test("a user signs in with a password, and out", async () => {
  await addUser("mia");
  const page = await open(browser, server.url, FORWARDED);
  await page.goto(server.url);
  await signIn(page, "mia", "wrong horse");
  await page.getByRole("alert").getByText("The user name or the password is wrong").waitFor();
  assert.equal(await page.getByLabel("User name").inputValue(), "mia");
  await signIn(page, "mia");
  await page.locator(".foot", { hasText: "mia" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("User name").waitFor();
});

test("a page whose session ends leads to the sign-in page and back", async () => {
  await addUser("li");
  const page = await open(browser, server.url, FORWARDED);
  await page.goto(`${server.url}/console/tasks?q=state%3Apaused`);
  await signIn(page, "li");
  await page.getByRole("heading", { level: 1, name: "Tasks" }).waitFor();
  await server.call("DELETE", "/v1/users/li");
  await addUser("li");
  await page.getByRole("link", { name: "The session has ended. Sign in again" }).click();
  await signIn(page, "li");
  await page.getByRole("heading", { level: 1, name: "Tasks" }).waitFor();
  assert.equal(new URL(page.url()).search, "?q=state%3Apaused");
});

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? "with scripts" : "without scripts";

  test(`input of a form whose session has ended is sent after the sign-in, ${how}`, async () => {
    const name = `kept.${javaScriptEnabled}`;
    const data = '{"to": "<mia>"}\n';
    await addUser(name);
    const page = await open(browser, server.url, { ...FORWARDED, javaScriptEnabled });
    await page.goto(`${server.url}/console/tasks/new`);
    await signIn(page, name);
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Payload", { exact: true }).fill(data);
    await server.call("DELETE", `/v1/users/${name}`);
    await addUser(name);
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.getByText("Sign in again. Your input is kept").waitFor();
    if (javaScriptEnabled) await assertAccessible(page, "sign-in with kept input");
    await signIn(page, name, "wrong horse");
    await page.getByRole("alert").waitFor();
    await signIn(page, name);
    await page.getByRole("heading", { level: 1, name: "Your input is kept" }).waitFor();
    if (javaScriptEnabled) await assertAccessible(page, "kept input");
    assert.deepEqual((await server.call("GET", `/v1/tasks?name=${name}`)).tasks, []);
    await page.getByRole("button", { name: "Send the input" }).click();
    await page.getByText("The task is created.").waitFor();
    const { tasks } = await server.call("GET", `/v1/tasks?name=${name}`);
    assert.deepEqual(tasks.map((task) => task.data), [data]);
    await page.context().close();
  });
}
