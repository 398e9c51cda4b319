// A browser and a server with an empty store, for the tests of the file that imports this module.

import { after, before } from "node:test";
import { launch } from "./console.mjs";
import { start } from "./server.mjs";

export let browser, server;

before(async () => {
  [browser, server] = await Promise.all([launch(), start()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});
