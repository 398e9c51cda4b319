// An open page for each test of the file that imports this module.

import { afterEach, beforeEach } from "node:test";
import { open } from "./console.mjs";
import { browser, server } from "./session.mjs";

export let page;

beforeEach(async () => {
  page = await open(browser, server.url);
});

afterEach(() => page.context().close());
