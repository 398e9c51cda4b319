// Sign-in, and the end of a session.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "./console.mjs";
import { start } from "./server.mjs";

const PASSWORD = "correct horse";
/** A call that a proxy forwards needs a sign-in, also on the machine of the server. */
const FORWARDED = { extraHTTPHeaders: { "x-forwarded-for": "203.0.113.9" } };
let browser, server;

before(async () => {
  [browser, server] = await Promise.all([launch(), start()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const addUser = (name) => server.call("POST", "/v1/users", { name, password: PASSWORD, role: "operator" });

async function signIn(page, name, password = PASSWORD) {
  await page.getByLabel("User name").fill(name);
  await page.getByLabel("Password").fill(password);
  await page.getByLabel("Password").press("Enter");
}

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
