// A group of dead runs is redriven with a canary, a rate and an edited payload.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertFits, assertNoProblems, PHONE } from "./console.mjs";
import { page } from "./page.mjs";
import { server } from "./session.mjs";

const button = (name) => page.getByRole("button", { name, exact: true });
const state = (name) => page.locator(".head .st").filter({ hasText: name }).waitFor({ timeout: 20_000 });
const canary = (name) => page.locator("[data-region=canary] .st").filter({ hasText: name }).waitFor({ timeout: 20_000 });

/** Creates dead runs of a name, each with a payload of its own. */
async function dead(name, count) {
  for (let number = 1; number <= count; number += 1) {
    await server.create({ name, queue: name, data: `{"to":"nobody","n":${number}.50}` });
  }
  await server.work(name, count, () => ({ outcome: "dead", message: "no such mailbox" }));
}

/** Redrives the group of a name from the page of dead letters. */
async function redrive(name) {
  await page.goto(`${server.url}/console/dead-letters`);
  await page.getByRole("link", { name: `Redrive the tag: ${name}` }).click();
  await page.getByLabel("Canary").fill("1");
  await page.getByLabel("Rate").fill("50");
  await page.getByLabel("Patch of the payload").fill('{"to":"mia"}');
  await button("Redrive runs").click();
  await canary("Waiting");
}

/** Handles runs. Each has the payload of its own with the edit. */
async function handle(name, count, outcome) {
  const payloads = [];
  await server.work(name, count, (run) => {
    payloads.push(run.data);
    return outcome;
  });
  for (const data of payloads) assert.match(data, /^\{"to":"mia","n":[123]\.50\}$/);
}

test("the other runs follow a canary that succeeds", async () => {
  await dead("canary.good", 3);
  await redrive("canary.good");
  await page.getByText("1 of 3").waitFor();
  await handle("canary.good", 1, { outcome: "succeeded" });
  await canary("Passed");
  await state("Completed");
  await page.getByText("3 of 3").waitFor();
  await handle("canary.good", 2, { outcome: "succeeded" });
  assertNoProblems(page, "canary");
});

test("a canary that fails holds the operation until a person decides", async () => {
  await dead("canary.bad", 3);
  await redrive("canary.bad");
  await handle("canary.bad", 1, { outcome: "dead", message: "mailbox is full" });
  await state("Held");
  await page.getByRole("alert").filter({ hasText: "1 of 1 run did not succeed" }).waitFor();
  await page.locator("[data-region=canary]").getByText("mailbox is full").waitFor();
  await assertAccessible(page, "held operation");
  await page.setViewportSize(PHONE);
  await assertFits(page, "held operation");
  await page.getByRole("link", { name: "Continue" }).click();
  await assertFits(page, "continue");
  await button("Continue").click();
  await page.getByText("The operation continues.").waitFor();
  await handle("canary.bad", 2, { outcome: "succeeded" });
  await state("Completed");
  assertNoProblems(page, "held operation");
});

test("a form with a wrong canary or patch is refused, and keeps what was typed", async () => {
  await dead("canary.form", 1);
  await page.goto(`${server.url}/console/operations/new?q=tag%3Acanary.form&all=1&action=redrive`);
  await page.getByLabel("Canary").fill("101");
  await page.getByLabel("Patch of the payload").fill("[1]");
  await button("Redrive runs").click();
  await page.getByRole("alert").filter({ hasText: "patch should be a JSON object" }).waitFor();
  await page.getByLabel("Patch of the payload").fill('{"to":null}');
  await button("Redrive runs").click();
  await page.getByRole("alert").filter({ hasText: "canary should be between 1 and 100" }).waitFor();
  assert.equal(await page.getByLabel("Patch of the payload").inputValue(), '{"to":null}');
});
