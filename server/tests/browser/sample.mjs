// Tasks and runs of every kind, so that each page has something to show.

const HOUR_MS = 3_600_000;

/** Fills a store. Returns tasks that the pages need. */
export async function fill(server) {
  const nightly = await server.create({
    name: "report.daily",
    labels: { team: "reports", region: "eu-1", tier: "2", "acme.com/owner": "mia" },
    json: { region: "eu" },
    schedule: { kind: "cron", cron: "30 2 * * *", zone: "Europe/Berlin" },
  });
  await server.create({ name: "cache.refresh", schedule: { kind: "every", period_ms: HOUR_MS / 4 } });
  await server.create({ name: "order.close", json: { order: 4711 }, delay_ms: 2 * HOUR_MS });
  const monthly = { kind: "cron", cron: "0 9 1 * *", zone: "Asia/Shanghai" };
  const paused = await server.create({ name: "invoice.send", schedule: monthly });
  await server.call("POST", `/v1/tasks/${paused.id}/pause`);
  await server.call("PATCH", `/v1/tasks/${paused.id}`, { json: { region: "cn" }, labels: { team: "pay" } });
  await server.call("POST", "/v1/calendars", {
    name: "cn-workdays", zone: "Asia/Shanghai", description: "working hours in China", weekly: ["mon-fri 09:00-18:00"],
    exclude: ["2026-10-01/2026-10-07"], include: ["2026-10-10 09:00-18:00"],
  });
  const calendars = { only: ["cn-workdays"] };
  await server.create({ name: "report.workdays", calendars, schedule: { kind: "cron", cron: "0 10 * * *", zone: "Asia/Shanghai" } });
  const done = await server.create({ name: "mail.welcome", json: { user: 1 }, queue: "mail", labels: { team: "mail" } });
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
  await server.create({ name: "video.encode", queue: "video" });
  const lease = { worker: "encoder-1", queues: ["video"], limit: 1, wait_ms: 10_000, lease_ms: 3_600_000 };
  await server.call("POST", "/v1/runs/lease", lease);
  const until = new Date(Date.now() + 2 * HOUR_MS).toISOString();
  await server.call("POST", "/v1/alerts/silences", { rule: "no_worker", subject: "video.*", until, comment: "maintenance" });
  await server.until("/v1/alerts", ({ alerts }) => alerts.length > 0);
  await server.call("POST", "/v1/users", { name: "mia", password: "correct horse", role: "operator", tags: ["mail", "video"] });
  await server.call("POST", "/v1/tokens", { name: "ci", scopes: ["task:read"], tags: ["mail"] });
  return { nightly, paused, done, dead, waiting, operation };
}
