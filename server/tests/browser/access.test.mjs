// What an administrator does with users and tokens, and what the users may do then.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertNoProblems, FORWARDED, open, PASSWORD, signIn } from "./console.mjs";
import { browser, server } from "./session.mjs";

const HOURLY = { kind: "every", period_ms: 3_600_000 };
const link = (page, name) => page.getByRole("link", { name });
const button = (page, name) => page.getByRole("button", { name, exact: true });

test("an administrator creates an operator for a tag, who works with the tag until the removal", async () => {
  const mail = await server.create({ name: "mail", schedule: HOURLY });
  const other = await server.create({ name: "other", schedule: HOURLY });
  for (const javaScriptEnabled of [true, false]) {
    const admin = await open(browser, server.url, { javaScriptEnabled });
    await admin.goto(server.url);
    await link(admin, "Access").click();
    await link(admin, "New user…").click();
    await admin.getByLabel("User name").fill("mia");
    await admin.getByLabel("Password").fill("secret7");
    await admin.getByLabel("Role").selectOption("operator");
    await admin.getByLabel("Tags").fill("mail");
    await button(admin, "Create").click();
    await admin.getByRole("alert").getByText("password should have between 8 and 1024 bytes").waitFor();
    assert.equal(await admin.getByLabel("User name").inputValue(), "mia");
    await admin.getByLabel("Password").fill(PASSWORD);
    await button(admin, "Create").click();
    await admin.getByText("The user is saved.").waitFor();

    const page = await open(browser, server.url, { ...FORWARDED, javaScriptEnabled });
    await page.goto(`${server.url}/console/tasks`);
    await signIn(page, "mia");
    await page.getByRole("heading", { level: 1, name: "Tasks" }).waitFor();
    await page.getByRole("link", { name: "mail", exact: true }).first().waitFor();
    assert.equal(await page.getByText("other", { exact: true }).count(), 0);
    await page.goto(`${server.url}/console/tasks/${mail.id}/pause`);
    await button(page, "Pause").click();
    await server.until(`/v1/tasks/${mail.id}`, ({ state }) => state === "paused");
    for (const path of ["", "/pause"]) {
      const answer = await page.goto(`${server.url}/console/tasks/${other.id}${path}`);
      assert.equal(answer.status(), 404);
    }
    assert.equal((await page.goto(`${server.url}/console/access`)).status(), 403);

    await link(admin, "Remove user: mia").click();
    await admin.getByText("the sessions of the user end at once").waitFor();
    await button(admin, "Remove user").click();
    await admin.getByText("The user is removed.").waitFor();
    await page.goto(`${server.url}/console/tasks`);
    await page.getByLabel("User name").waitFor();
    await server.call("POST", `/v1/tasks/${mail.id}/resume`);
    await Promise.all([admin.context().close(), page.context().close()]);
  }
});

test("an administrator creates a token, which opens a session until it is revoked", async () => {
  const admin = await open(browser, server.url);
  await admin.goto(`${server.url}/console/access`);
  await link(admin, "New token…").click();
  await admin.getByLabel("Name").fill("ci");
  await admin.getByLabel("task:read").check();
  await admin.getByLabel("Expires after days").fill("90");
  await button(admin, "Create token").click();
  await admin.getByText("The server does not show it again.").waitFor();
  const text = await admin.locator("[data-copy-text]").first().textContent();
  const page = await open(browser, server.url, FORWARDED);
  await page.goto(server.url);
  await page.getByLabel("Token").fill(text);
  await page.getByLabel("Token").press("Enter");
  await page.locator(".foot", { hasText: "ci" }).waitFor();
  await link(admin, "Access").first().click();
  assert.equal(await admin.getByText(text).count(), 0);
  await link(admin, /^Revoke token: ci/).click();
  await button(admin, "Revoke token").click();
  await admin.getByText("The token is revoked.").waitFor();
  await page.goto(server.url);
  await page.getByLabel("User name").waitFor();
  assertNoProblems(admin, "tokens");
});
