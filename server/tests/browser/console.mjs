// The console in a real browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axeSource = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const WIDE = { width: 1440, height: 900 };
export const PHONE = { width: 360, height: 740 };
/** Password of the users of the tests. */
export const PASSWORD = "correct horse";
/** Options of a browser behind a proxy, which must sign in also on the machine of the server. */
export const FORWARDED = { extraHTTPHeaders: { "x-forwarded-for": "203.0.113.9" } };

export async function launch() {
  return chromium.launch({
    executablePath: process.env.TASKCENTER_TEST_CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

/** Opens a page. `problems` collects what the browser complains about: errors of scripts, blocked content,
 * failed requests. */
export async function open(browser, url, { viewport = WIDE, theme = "light", lang = "en", ...more } = {}) {
  const context = await browser.newContext({ viewport, colorScheme: theme, locale: lang, ...more });
  await context.addCookies([{ name: "taskcenter_lang", value: lang.slice(0, 2), url }]);
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") page.problems.push(message.text());
  });
  page.on("dialog", (dialog) => {
    page.problems.push(`a dialog opened: ${dialog.message()}`);
    dialog.dismiss();
  });
  return page;
}

/** Signs in as a user on the page that is open. */
export async function signIn(page, name, password = PASSWORD) {
  await page.getByLabel("User name").fill(name);
  await page.getByLabel("Password").fill(password);
  await page.getByLabel("Password").press("Enter");
}

/** Asserts that axe finds no violation of WCAG 2.2 A and AA. */
export async function assertAccessible(page, where) {
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const found = await globalThis.axe.run(document, { runOnly: { type: "tag", values: tags } });
    return found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes[0].html.slice(0, 200)}`);
  });
  assert.deepEqual(violations, [], where);
}

/** Asserts that the page does not scroll sideways. */
export async function assertFits(page, where) {
  const [content, window] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
  ]);
  assert.ok(content <= window, `${where}: ${content} px of content in ${window} px`);
}

/** Asserts that the browser had nothing to complain about. */
export function assertNoProblems(page, where) {
  assert.deepEqual(page.problems, [], where);
}
