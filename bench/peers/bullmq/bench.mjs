// node bench.mjs WORK PORT COUNT [RATE]: runs one work with BullMQ and prints its figures as one line of JSON.
import { Queue, Worker } from 'bullmq';

const [work, port, countText, rateText] = process.argv.slice(2);
const count = Number(countText);
const rate = Number(rateText ?? 500);
const CONCURRENCY = 64;
const DAYS_10 = 864e6;
const STALLED_AFTER_MS = 60_000;

const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
const name = `bench-${process.pid}`;
const queue = new Queue(name, { connection });
const options = { removeOnComplete: 1000 };

const now = () => performance.timeOrigin + performance.now();
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const fill = (at) => Array(count).fill(at);
const perSecond = (start) => ({ per_s: count / ((now() - start) / 1e3) });
const percentile = (sorted, fraction) => sorted[Math.round((sorted.length - 1) * fraction)];

function job(at, order) {
  const delay = at ? { delay: Math.max(0, at - Date.now()) } : {};
  return { name: 't', data: { order, at }, opts: { ...options, ...delay } };
}

// Adds one job for each moment: `batch` a call, `atOnce` calls at the same time.
async function add(moments, batch, atOnce) {
  let next = 0;
  const client = async () => {
    while (next < moments.length) {
      const first = next;
      next += batch;
      await queue.addBulk(moments.slice(first, first + batch).map((at, i) => job(at, first + i)));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
}

async function addOneByOne() {
  let next = 0;
  const client = async () => {
    while (next < count) {
      await queue.add('t', { order: next++ }, { ...options, delay: DAYS_10 });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, client));
}

async function addInTime(moments) {
  await add(moments, 1000, 4);
  if (Date.now() > moments[0]) throw new Error('the jobs were created after they were due');
}

const late = [];
let seen = 0;

async function seeAll(wanted) {
  let before = 0;
  let changed = now();
  while (seen < wanted) {
    if (seen > before) {
      before = seen;
      changed = now();
    }
    if (now() - changed > STALLED_AFTER_MS) throw new Error(`only ${seen} of ${wanted} jobs arrived`);
    await sleep(2);
  }
}

async function startWorker() {
  const handle = async ({ data }) => {
    if (data.at) late.push(now() - data.at);
    seen++;
  };
  const worker = new Worker(name, handle, { connection, concurrency: CONCURRENCY });
  await worker.waitUntilReady();
  await queue.add('t', { order: 0 }, options);
  await seeAll(1);
  await sleep(500);
  seen = 0;
  return worker;
}

// A whole second before which the jobs can be created: asynq has no finer moments.
const soon = () => (Math.floor(Date.now() / 1e3) + 5 + Math.floor(count / 5000)) * 1e3;

const works = {
  async 'create-one'() {
    const start = now();
    await addOneByOne();
    return perSecond(start);
  },
  async 'create-many'() {
    const start = now();
    await add(fill(Date.now() + DAYS_10), 100, 4);
    return perSecond(start);
  },
  async run() {
    await startWorker();
    const start = now();
    await add(fill(0), 100, 4);
    await seeAll(count);
    return perSecond(start);
  },
  async burst() {
    await startWorker();
    await addInTime(fill(soon()));
    await seeAll(count);
    late.sort((a, b) => a - b);
    const last = percentile(late, 1);
    return { per_s: count / (last / 1e3), first_ms: late[0], p50_ms: percentile(late, 0.5), last_ms: last };
  },
  async steady() {
    await startWorker();
    const first = soon();
    await addInTime(Array.from({ length: count }, (_, i) => first + Math.floor((i * 1e3) / rate)));
    await seeAll(count);
    late.sort((a, b) => a - b);
    const [p50_ms, p99_ms, p999_ms] = [0.5, 0.99, 0.999].map((fraction) => percentile(late, fraction));
    return { p50_ms, p99_ms, p999_ms };
  },
};

const figures = await works[work]();
console.log(JSON.stringify(figures));
process.exit(0);
