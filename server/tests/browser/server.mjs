// A server of this checkout with an empty store, and calls of its API.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY_WITHIN_MS = 30_000;

/** Starts a server on a free port. `environment` has further settings. */
export async function start(environment = {}) {
  const dir = await mkdtemp(join(tmpdir(), "taskcenter-browser-"));
  const options = ["dev", "--listen", "127.0.0.1:0", "--data-dir", dir];
  const child = spawn(process.env.TASKCENTER_TEST_BIN, options, {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const timer = setTimeout(() => child.kill(), READY_WITHIN_MS);
  try {
    return new Server(child, dir, await announced(child));
  } finally {
    clearTimeout(timer);
  }
}

/** Returns the address that the server prints when it is ready. */
async function announced(child) {
  let text = "";
  // The rest is read too, so that the server never waits for the pipe.
  child.stdout.setEncoding("utf8").on("data", (more) => (text += more));
  for (;;) {
    const address = text.match(/^\s*address\s+(http\S+)\s/m);
    if (address) return address[1];
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended: ${text}`);
    await new Promise((resolve) => child.stdout.once("data", resolve).once("end", resolve));
  }
}

class Server {
  constructor(child, dir, url) {
    this.child = child;
    this.dir = dir;
    this.url = url;
  }

  /** Calls the API. Returns the answer, or throws its error. */
  async call(method, path, body) {
    const answer = await fetch(`${this.url}${path}`, {
      method,
      // `If-Match`: an edit of any revision.
      headers: { "content-type": "application/json", "if-match": "*" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  /** Creates a task. */
  create(task) {
    return this.call("POST", "/v1/tasks", task);
  }

  /** Reads a path until its answer fulfils a condition. */
  async until(path, condition) {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const answer = await this.call("GET", path);
      if (condition(answer)) return answer;
      if (Date.now() > deadline) throw new Error(`${path} stays ${JSON.stringify(answer)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Leases `count` runs of a queue, and reports what `outcome` returns for each. */
  async work(queue, count, outcome) {
    const lease = { worker: "browser-test", queues: [queue], limit: count, wait_ms: 10_000 };
    for (let left = count; left > 0; ) {
      const { runs } = await this.call("POST", "/v1/runs/lease", { ...lease, limit: left });
      if (runs.length === 0) throw new Error(`${left} runs of ${queue} did not become ready`);
      for (const run of runs) {
        const report = { attempt: run.attempt, token: run.token, ...(await outcome(run)) };
        await this.call("POST", `/v1/runs/${run.run_id}/report`, report);
      }
      left -= runs.length;
    }
  }

  /** Writes lines to the log of a leased run. */
  log(run, texts) {
    const at = new Date().toISOString();
    const lines = texts.map((text) => ({ at, level: "warn", text }));
    const batch = { attempt: run.attempt, token: run.token, batch_id: `batch-${Math.random()}`, lines };
    return this.call("POST", `/v1/runs/${run.run_id}/log`, batch);
  }

  /** Creates an operation, and waits for its end. */
  async operate(operation) {
    const { id } = await this.call("POST", "/v1/operations", operation);
    return this.until(`/v1/operations/${id}`, ({ state }) => state !== "running");
  }

  async stop() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    await ended;
    await rm(this.dir, { recursive: true, force: true });
  }
}
