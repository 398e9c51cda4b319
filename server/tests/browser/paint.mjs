// Measures the first contentful paint of pages, for docs/performance.md:
//
//     node paint.mjs URL [PATH ...]
//
// Each page is opened in a new browser context, so without a cache.

import { launch, open } from "./console.mjs";

const TIMES = 9;
const PATHS = [
  "/",
  "/console/tasks",
  "/console/tasks?q=state%3Apaused",
  "/console/runs",
  "/console/runs?q=state%3Adead",
  "/console/dead-letters",
  "/console/queues",
  "/console/workers",
  "/console/alerts",
  "/console/operations",
];

const [url, ...paths] = process.argv.slice(2);
if (!url) throw new Error("the first argument is the address of a server, such as http://127.0.0.1:9620");
const browser = await launch();
try {
  console.log("| page | median | slowest |\n|---|---|---|");
  for (const path of paths.length > 0 ? paths : PATHS) {
    const times = [];
    for (let n = 0; n < TIMES; n++) times.push(await firstPaint(path));
    times.sort((a, b) => a - b);
    console.log(`| \`${path}\` | ${Math.round(times[TIMES >> 1])} ms | ${Math.round(times[TIMES - 1])} ms |`);
  }
} finally {
  await browser.close();
}

/** Returns the time from the start of the navigation to the first content on the screen, in milliseconds. */
async function firstPaint(path) {
  const page = await open(browser, url);
  await page.goto(url + path);
  const time = await page.evaluate(
    () =>
      new Promise((resolve) =>
        new PerformanceObserver((list) => {
          const paint = list.getEntriesByName("first-contentful-paint")[0];
          if (paint) resolve(paint.startTime);
        }).observe({ type: "paint", buffered: true }),
      ),
  );
  await page.context().close();
  return time;
}
