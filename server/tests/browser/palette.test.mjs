// The command palette, with the keyboard only.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertNoProblems, open } from "./console.mjs";
import { browser, server } from "./session.mjs";

test("pages, actions, tasks and runs are reached by the keyboard", async () => {
  const { id } = await server.create({ name: "palette.me", queue: "palette", delay_ms: 3_600_000 });
  const run = await server.call("POST", `/v1/tasks/${id}/trigger`);
  const page = await open(browser, server.url);
  await page.goto(server.url);
  const dialog = page.getByRole("dialog", { name: "Command palette" });
  const selected = dialog.getByRole("option", { selected: true });
  await page.keyboard.press("Control+k");
  await dialog.waitFor();
  assert.ok(await dialog.getByRole("combobox").evaluate((box) => box === document.activeElement));
  await assertAccessible(page, "palette");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  await page.keyboard.press(":");
  await page.keyboard.type("dead");
  await selected.filter({ hasText: "Dead letters" }).waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(/dead-letters/);

  await page.keyboard.press("Control+k");
  await page.keyboard.type("palette.me");
  await dialog.getByRole("option", { name: /palette\.me · Once/ }).waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(`tasks/${id}$`));

  await page.keyboard.press("Control+k");
  await page.keyboard.type("pause");
  await selected.filter({ hasText: "Pause" }).waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(/pause$/);

  await page.keyboard.press("Control+k");
  await page.keyboard.type(run.run_id);
  await selected.filter({ hasText: run.run_id }).waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(run.run_id));

  await page.keyboard.press("Control+k");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  const last = dialog.getByRole("option").last();
  assert.equal(await last.getAttribute("aria-selected"), "true");
  const combobox = dialog.getByRole("combobox");
  assert.equal(await combobox.getAttribute("aria-activedescendant"), await last.getAttribute("id"));
  await page.keyboard.type("no such thing");
  await dialog.getByText("Nothing matches.").waitFor();
  assertNoProblems(page, "palette");
  await page.context().close();
});

test("the palette is in Chinese too", async () => {
  const page = await open(browser, server.url, { lang: "zh-CN" });
  await page.goto(server.url);
  await page.keyboard.press("Control+k");
  const dialog = page.getByRole("dialog", { name: "命令面板" });
  await page.keyboard.type("队列");
  await dialog.getByRole("option", { selected: true }).filter({ hasText: "队列" }).waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(/queues$/);
  await page.context().close();
});
