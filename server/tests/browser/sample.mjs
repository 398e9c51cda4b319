// Tasks and runs of every kind, so that each page has something to show.

const HOUR_MS = 3_600_000;

/** Fills a store. Returns tasks that the pages need. */
export async function fill(server) {
  const nightly = await server.create({
    name: "report.daily",
    json: { region: "eu" },
    schedule: { kind: "cron", cron: "30 2 * * *", zone: "Europe/Berlin" },
  });
  await server.create({ name: "cache.refresh", schedule: { kind: "every", period_ms: HOUR_MS / 4 } });
  await server.create({ name: "order.close", json: { order: 4711 }, delay_ms: 2 * HOUR_MS });
  const monthly = { kind: "cron", cron: "0 9 1 * *", zone: "Asia/Shanghai" };
  const paused = await server.create({ name: "invoice.send", schedule: monthly });
  await server.call("POST", `/v1/tasks/${paused.id}/pause`);
  const done = await server.create({ name: "mail.welcome", json: { user: 1 }, queue: "mail" });
  const dead = await server.create({ name: "mail.digest", json: { user: 2 }, queue: "mail" });
  const waiting = await server.create({ name: "mail.weekly", json: { user: 3 }, queue: "nobody" });
  await server.work("mail", 2, async (run) => {
    if (run.task_id !== dead.id) return { outcome: "succeeded" };
    await server.log(run, ["connected to mail.example", `rejected: ${"quota ".repeat(40)}`]);
    return { outcome: "dead", message: "mailbox 2 is full" };
  });
  // One item fails, so that the page of the operation lists it.
  const ids = [paused.id, "0".repeat(32)];
  const operation = await server.operate({ action: "pause", select: { ids }, reason: "upgrade of the broker" });
  return { nightly, paused, done, dead, waiting, operation };
}
