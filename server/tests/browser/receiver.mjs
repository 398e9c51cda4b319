// A receiver of alerts, as a robot of a chat is one.

import { createServer } from "node:http";

/** Starts a receiver that answers every message with `status` and `body`. `messages` has what it got. */
export async function startReceiver(status = 200, body = "") {
  const messages = [];
  const server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (more) => (text += more));
    request.on("end", () => {
      messages.push(JSON.parse(text));
      response.writeHead(status).end(body);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  return { url, messages, stop: () => new Promise((resolve) => server.close(resolve).closeAllConnections()) };
}

/** Returns settings of a server with a channel to this address, whose alerts do not wait. */
export function alertsTo(url) {
  return {
    TASKCENTER__ENGINE__BACKLOG_SEC: "1",
    TASKCENTER__ALERTS__RULES__NO_WORKER__FOR_SEC: "0",
    TASKCENTER__ALERTS__CHANNELS__OPS__KIND: "webhook",
    TASKCENTER__ALERTS__CHANNELS__OPS__URL: url,
    TASKCENTER__ALERTS__CHANNELS__OPS__ATTEMPTS: "1",
  };
}
