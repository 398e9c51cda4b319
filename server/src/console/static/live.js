// Live updates: the page follows the events of the server, and changes in place.
// Where the stream of events is blocked, the page asks for itself from time to time.

const main = document.getElementById("content");
const status = document.querySelector("[data-status]");
const isLive = Boolean(status && main?.hasAttribute("data-live"));
const events = main?.dataset.events;

/** Shortest time between two requests for the page, and the same under constant load. */
const GAP_MS = 1000;
const BUSY_GAP_MS = 2000;
/** Number of requests in a row that count as constant load. */
const BUSY_AFTER = 5;
/** Part of the time that requests for the page may take. */
const SHARE = 4;
/** Time between two requests without events, for what changes by itself, with and without a stream. */
const REFRESH_MS = 10_000;
const POLL_MS = 5000;
/** Silence after which the page is stale. The server sends a sign of life every 5 s. */
const STALE_MS = 10_000;
/** Time that a connection may take before the page says that it asks by itself. */
const GRACE_MS = 3000;
/** Time until a blocked stream is tried again. */
const RETRY_MS = 30_000;
/** Time in which a page that a person leaves is not loaded again: that would cancel the way to the next page. */
const LEAVE_MS = 10_000;
/** Time that a person has to begin something before a page with another form is loaded again. */
const RELOAD_MS = 500;

const state = {
  paused: false,
  /** Whether the server asks for a sign-in. */
  hasEnded: false,
  source: null,
  /** Whether events arrive. */
  streams: false,
  heardAt: Date.now(),
  connectedAt: 0,
  failedAt: 0,
  askedAt: 0,
  cost: 0,
  inRow: 0,
  /** Number of rows that wait, and the rows, by table. */
  fresh: new Map(),
};
let timer;
let asking = false;
let wanted = false;
let leftAt = 0;
let reload;

// ---------------------------------------------------------------- the state of the page
function isStale(now) {
  return now - state.heardAt > STALE_MS || (state.failedAt > 0 && now - state.failedAt > STALE_MS);
}

function showStatus() {
  const now = Date.now();
  const stale = isStale(now);
  const polls = events && !state.streams && (!state.source || now - state.connectedAt > GRACE_MS);
  const kind = state.paused ? "paused" : stale ? "stale" : polls ? "polling" : "live";
  const text = status.dataset[`${kind}Text`];
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("paused", kind === "paused");
  status.classList.toggle("stale", kind === "stale");
  status.setAttribute("aria-pressed", String(state.paused));
  status.hidden = false;
  main.classList.toggle("stale-data", stale && !state.paused);
}

// ---------------------------------------------------------------- changes in place
function isBusy(element) {
  const selection = getSelection();
  const selects = selection && !selection.isCollapsed && element.contains(selection.anchorNode);
  return selects || element.contains(document.activeElement);
}

/** The content without what only this page changes: relative times, the cursor, and opened details. */
function content(element) {
  const copy = element.cloneNode(true);
  copy.classList.remove("cursor");
  if (copy.classList.length === 0) copy.removeAttribute("class");
  copy.removeAttribute("aria-selected");
  for (const time of copy.querySelectorAll("time[data-relative]")) time.textContent = "";
  for (const details of copy.querySelectorAll("details")) details.removeAttribute("open");
  return copy.outerHTML;
}

/** The details of an element by their own key, or else by the key of their row and their place in the row. */
function detailsOf(element) {
  const [found, places] = [new Map(), new Map()];
  for (const details of element.querySelectorAll("details")) {
    const row = details.closest("[data-key]")?.dataset.key ?? "";
    const place = places.get(row) ?? 0;
    places.set(row, place + 1);
    found.set(`${place} ${row}`, details);
  }
  return found;
}

/** The first visible line of a log, and its distance from the top. None: the log shows its end, and follows it. */
function firstLine(log) {
  // A log grows upwards: its place is 0 at the end, and negative before.
  if (log.scrollTop > -2) return null;
  const top = log.getBoundingClientRect().top;
  const line = [...log.querySelectorAll("li")].find((one) => one.getBoundingClientRect().bottom > top);
  return line && { html: line.outerHTML, distance: line.getBoundingClientRect().top - top };
}

/** Scrolls a log to the line that it showed first. */
function scrollToLine(log, first) {
  const line = first && [...log.querySelectorAll("li")].find((one) => one.outerHTML === first.html);
  if (line) log.scrollTop += line.getBoundingClientRect().top - log.getBoundingClientRect().top - first.distance;
  else if (!first) log.scrollTop = 0;
}

/** Keeps what a person has opened, and which line of a log is at its top. A log that shows its end follows it. */
function keepView(old, fresh) {
  const opened = detailsOf(old);
  for (const [key, details] of detailsOf(fresh)) details.open = opened.get(key)?.open ?? details.open;
  const around = old.closest(".log");
  const [befores, afters] = [old, fresh].map((element) => [...element.querySelectorAll(".log")]);
  const pairs = around ? [[around, around]] : befores.map((log, at) => [log, afters[at]]).filter(([, after]) => after);
  const kept = pairs.map(([before, after]) => [after, firstLine(before)]);
  return () => kept.forEach(([log, first]) => scrollToLine(log, first));
}

/** Replaces an element by a newer one. Parts with the focus or a selection stay as they are. */
function patch(old, fresh) {
  if (content(old) === content(fresh)) return;
  if (!isBusy(old)) {
    const restore = keepView(old, fresh);
    old.replaceWith(document.adoptNode(fresh));
    restore();
    return;
  }
  const [olds, others] = [[...old.children], [...fresh.children]];
  if (olds.length === others.length) olds.forEach((child, at) => patch(child, others[at]));
}

/** Known rows change in place. New rows wait behind a button, so that nothing moves under the pointer. */
function updateRows(body, fresh) {
  const others = new Map([...fresh.children].map((row) => [row.dataset.key, row]));
  for (const row of [...body.children]) {
    const other = others.get(row.dataset.key);
    others.delete(row.dataset.key);
    if (!other) continue;
    other.classList.toggle("cursor", row.classList.contains("cursor"));
    const [pick, otherPick] = [row, other].map((one) => one.querySelector(".pick input"));
    if (pick && otherPick) otherPick.checked = pick.checked;
    // The copy keeps its place in the fresh table, whose order a person may ask for.
    const copy = other.cloneNode(true);
    if (pick && otherPick) copy.querySelector(".pick input").checked = pick.checked;
    patch(row, copy);
  }
  offer(body, others.size, fresh);
}

/** Shows, changes or removes the button of the rows that wait. */
function offer(body, count, fresh) {
  const wrap = body.closest("table") ?? body;
  let button = wrap.previousElementSibling;
  if (!button?.classList.contains("newrows")) button = null;
  if (count === 0) {
    state.fresh.delete(body);
    return button?.remove();
  }
  state.fresh.set(body, fresh);
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.className = "newrows";
    button.addEventListener("click", () => showNew(body));
    wrap.before(button);
  }
  const text = status.dataset.newText.replace("{}", count);
  if (button.textContent !== text) button.textContent = text;
}

/** Inserts the rows that wait. Rows that are no longer on the page go, except selected ones. */
function showNew(body) {
  const fresh = state.fresh.get(body);
  if (!fresh) return;
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let at = body.firstElementChild;
  let first = null;
  for (const row of [...fresh.children]) {
    const old = known.get(row.dataset.key);
    known.delete(row.dataset.key);
    const node = old ?? document.adoptNode(row);
    if (!old) first ??= node;
    if (node === at) at = at.nextElementSibling;
    else body.insertBefore(node, at);
  }
  for (const row of known.values()) if (!row.querySelector(".pick input")?.checked) row.remove();
  offer(body, 0);
  first?.querySelector("a")?.focus({ preventScroll: true });
  tellUpdated();
}

function showAllNew() {
  [...state.fresh.keys()].forEach(showNew);
}

function update(page) {
  const fresh = page.getElementById("content");
  if (!fresh) return;
  for (const region of main.querySelectorAll("[data-region]")) {
    const other = fresh.querySelector(`[data-region="${CSS.escape(region.dataset.region)}"]`);
    if (other) patch(region, other);
  }
  const [bodies, others] = [main, fresh].map((part) => [...part.querySelectorAll("[data-rows]")]);
  if (bodies.length === others.length) bodies.forEach((body, at) => updateRows(body, others[at]));
  // The first rows of an empty page, or the other way round: the page has another form now.
  else reloadSoon();
  tellUpdated();
}

/** Loads the page again, unless a person has begun to leave it or to use it. */
function reloadSoon() {
  clearTimeout(reload);
  reload = setTimeout(() => {
    if (!isBusy(main) && Date.now() - leftAt > LEAVE_MS) location.reload();
  }, RELOAD_MS);
}

/** Tells the other scripts that rows may be others. */
function tellUpdated(skew) {
  document.dispatchEvent(new CustomEvent("console:updated", { detail: { skew } }));
}

// ---------------------------------------------------------------- requests for the page
async function ask() {
  asking = true;
  wanted = false;
  state.askedAt = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") showEnd();
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const date = Date.parse(answer.headers.get("date") ?? "");
    if (!Number.isNaN(date)) tellUpdated(Math.round((date - Date.now()) / 1000) * 1000);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    state.failedAt = 0;
    if (!state.streams) state.heardAt = Date.now();
    if (!state.paused || state.isForced) update(page);
  } catch {
    // The next request tries again; the status says how old the page is.
    state.failedAt ||= Date.now();
  } finally {
    state.cost = Date.now() - state.askedAt;
    state.askedAt = Date.now();
    state.isForced = false;
    asking = false;
    showStatus();
    plan();
  }
}

/** The only redirect of a page is to the sign-in page. This page stays, because a person may have typed something. */
function showEnd() {
  if (state.hasEnded) return;
  state.hasEnded = true;
  disconnect();
  const [banner, link] = ["div", "a"].map((name) => document.createElement(name));
  banner.className = "banner bad";
  banner.setAttribute("role", "alert");
  link.className = "link";
  link.href = `/console/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
  link.textContent = status.dataset.endedText;
  banner.append(link);
  main.prepend(banner);
}

/** Plans the next request: soon after an event, otherwise from time to time. */
function plan() {
  clearTimeout(timer);
  if (asking || document.hidden || state.paused || state.hasEnded) return;
  const least = state.inRow > BUSY_AFTER ? BUSY_GAP_MS : GAP_MS;
  const gap = Math.max(least, Math.min(SHARE * state.cost, POLL_MS));
  const pause = wanted ? gap : state.streams ? REFRESH_MS : POLL_MS;
  const wait = Math.max(0, state.askedAt + pause - Date.now());
  timer = setTimeout(() => {
    state.inRow = wanted && wait > 0 ? state.inRow + 1 : 0;
    ask();
  }, wait);
}

function want() {
  wanted = true;
  plan();
}

/** Asks at once, also while the page is paused. */
function askNow() {
  state.isForced = true;
  if (!asking) ask();
}

// ---------------------------------------------------------------- the stream
function heard(event) {
  state.heardAt = Date.now();
  if (!state.streams) {
    state.streams = true;
    showStatus();
  }
  if (event.type !== "alive") want();
}

function connect() {
  if (!events || !globalThis.EventSource || document.hidden || state.paused || state.hasEnded) return;
  disconnect();
  state.connectedAt = Date.now();
  const source = new EventSource(`/console/events?${events}`);
  state.source = source;
  for (const name of ["alive", "resync", "task", "run", "log", "queue", "operation"]) {
    source.addEventListener(name, heard);
  }
  source.addEventListener("error", () => {
    // A browser connects again by itself, except after an answer that is no stream.
    if (source === state.source) state.streams = false;
    if (source.readyState === EventSource.CLOSED && source === state.source) disconnect();
    plan();
  });
}

function disconnect() {
  state.source?.close();
  state.source = null;
  state.streams = false;
}

/** Gives up a silent stream, so that the page asks by itself; and tries a lost stream again. */
function watch() {
  const now = Date.now();
  const isSilent = state.source && now - Math.max(state.heardAt, state.connectedAt) > STALE_MS;
  if (isSilent) {
    disconnect();
    plan();
  }
  if (!state.source && now - state.connectedAt > RETRY_MS) connect();
  showStatus();
}

function start() {
  state.heardAt = Math.max(state.heardAt, Date.now() - STALE_MS / 2);
  connect();
  want();
}

function stop() {
  clearTimeout(timer);
  disconnect();
}

function togglePause() {
  state.paused = !state.paused;
  if (state.paused) stop();
  else start();
  showStatus();
}

if (isLive) {
  showStatus();
  connect();
  plan();
  setInterval(watch, 1000);
  status.addEventListener("click", togglePause);
  document.addEventListener("console:pause", togglePause);
  document.addEventListener("console:refresh", askNow);
  document.addEventListener("console:new", showAllNew);
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  addEventListener("beforeunload", () => (leftAt = Date.now()));
  addEventListener("pageshow", (event) => { if (event.persisted) start(); });
}
