// The kernel of the console: live updates, relative times, keys and small conveniences.
// Every page can be read and used without this file.

const root = document.documentElement;
const main = document.getElementById("content");
const POLL_MS = 5000;
const STALE_MS = 15000;

// ---------------------------------------------------------------- relative times
const zh = root.lang === "zh";
const units = zh
  ? [[86400, " 天"], [3600, " 小时"], [60, " 分钟"], [1, " 秒"]]
  : [[86400, " d"], [3600, " h"], [60, " min"], [1, " s"]];

function relative(ms) {
  let rest = Math.floor(Math.abs(ms) / 1000);
  if (rest === 0) return zh ? "现在" : "now";
  const parts = [];
  const largest = units.findIndex(([size]) => rest >= size);
  for (const [size, unit] of units.slice(largest, largest + 2)) {
    if (rest >= size) parts.push(Math.floor(rest / size) + unit);
    rest %= size;
  }
  const words = parts.join(" ");
  if (zh) return words + (ms > 0 ? "后" : "前");
  return ms > 0 ? `in ${words}` : `${words} ago`;
}

// The clock of the server, from the header of its answers: this machine's clock may be wrong.
let skew = 0;
function showTimes() {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const text = relative(Date.parse(time.dateTime) - Date.now() - skew);
    if (time.textContent !== text) time.textContent = text;
  }
}

// ---------------------------------------------------------------- live updates
const status = document.querySelector("[data-status]");
let paused = false;
let answeredAt = Date.now();
let hasNew = false;

function showStatus() {
  if (!status || !main?.hasAttribute("data-live")) return;
  const stale = Date.now() - answeredAt > STALE_MS;
  const kind = paused ? "paused" : stale ? "stale" : "live";
  const text = status.dataset[`${kind}Text`] ?? "";
  if (status.textContent !== text) status.textContent = text;
  status.className = `live ${kind === "live" ? "" : kind}`.trim();
  status.hidden = false;
  main.classList.toggle("stale-data", stale && !paused);
}

function busy(element) {
  const selection = getSelection();
  const selects = selection && !selection.isCollapsed && element.contains(selection.anchorNode);
  return selects || element.contains(document.activeElement);
}

// The content without what only this page changes: relative times, the cursor, and opened details.
function content(element) {
  const copy = element.cloneNode(true);
  copy.classList.remove("cursor");
  copy.removeAttribute("aria-selected");
  for (const time of copy.querySelectorAll("time[data-relative]")) time.textContent = "";
  for (const details of copy.querySelectorAll("details")) details.removeAttribute("open");
  return copy.outerHTML;
}

function replaceIfChanged(old, fresh) {
  if (busy(old) || content(old) === content(fresh)) return;
  old.replaceWith(document.adoptNode(fresh));
}

// Rows change in place. New rows wait behind a button, so that nothing moves under the pointer.
function updateRows(old, fresh) {
  const rows = new Map([...fresh.children].map((row) => [row.dataset.key, row]));
  for (const row of [...old.children]) {
    const other = rows.get(row.dataset.key);
    rows.delete(row.dataset.key);
    if (!other) continue;
    other.classList.toggle("cursor", row.classList.contains("cursor"));
    const pick = row.querySelector(".pick input");
    const otherPick = other.querySelector(".pick input");
    if (pick && otherPick) otherPick.checked = pick.checked;
    replaceIfChanged(row, other);
  }
  showSelection();
  offerNew(old, rows.size);
}

function offerNew(body, count) {
  const wrap = body.closest("table") ?? body;
  let button = wrap.previousElementSibling;
  if (!button?.classList.contains("newrows")) button = null;
  hasNew = hasNew || count > 0;
  if (count === 0) return button?.remove();
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.className = "newrows";
    button.addEventListener("click", () => location.reload());
    wrap.before(button);
  }
  button.textContent = zh ? `有 ${count} 行新数据，点击显示` : `Show ${count} new`;
}

function update(fresh) {
  hasNew = false;
  for (const region of main.querySelectorAll("[data-region]")) {
    const other = fresh.querySelector(`[data-region="${CSS.escape(region.dataset.region)}"]`);
    if (other) replaceIfChanged(region, other);
  }
  const bodies = [...main.querySelectorAll("[data-rows]")];
  const others = [...fresh.querySelectorAll("[data-rows]")];
  if (bodies.length === others.length) bodies.forEach((body, at) => updateRows(body, others[at]));
  else if (others.length > 0) offerNew(main.firstElementChild, others.length);
  showTimes();
}

async function poll(force) {
  if (!main?.hasAttribute("data-live") || document.hidden || (paused && !force)) return;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const date = Date.parse(answer.headers.get("date") ?? "");
    if (!Number.isNaN(date)) skew = Math.round((date - Date.now()) / 1000) * 1000;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    answeredAt = Date.now();
    update(page);
  } catch {
    // The next call tries again; the status says how old the page is.
  } finally {
    showStatus();
  }
}

function togglePause() {
  paused = !paused;
  showStatus();
  if (!paused) poll(true);
}

// ---------------------------------------------------------------- keys
const pages = {
  o: "/", t: "/console/tasks", r: "/console/runs", d: "/console/dead-letters",
  q: "/console/queues", s: "/console/services", a: "/console/access",
  p: "/console/operations", l: "/console/alerts", w: "/console/workers",
};
let prefix = 0;

function moveCursor(step) {
  const rows = [...document.querySelectorAll("[data-rows] > tr")];
  if (rows.length === 0) return;
  const at = rows.findIndex((row) => row.classList.contains("cursor"));
  const next = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
  rows[at]?.classList.remove("cursor");
  next.classList.add("cursor");
  next.querySelector("a")?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function focusFilter() {
  const filter = document.querySelector(".filter input");
  filter?.focus();
  filter?.select();
}

async function copyCurl() {
  const text = main?.dataset.api && document.querySelector("[data-copy-text]");
  if (text) await navigator.clipboard?.writeText(text.textContent);
}

const keys = {
  "?": () => document.getElementById("keys")?.togglePopover(),
  "/": focusFilter,
  j: () => moveCursor(1),
  k: () => moveCursor(-1),
  ".": () => poll(true),
  c: copyCurl,
  n: () => { if (hasNew) location.reload(); },
  P: togglePause,
};

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const isAfterG = Date.now() - prefix < 1500;
  prefix = 0;
  if (isAfterG && pages[event.key]) {
    location.href = pages[event.key];
  } else if (event.key === "g") {
    prefix = Date.now();
  } else if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

// ---------------------------------------------------------------- conveniences
// Without a choice of the person, only the browser knows which theme it shows.
const theme = document.querySelector('button[name="theme"]');
if (theme && !root.dataset.theme) {
  theme.value = matchMedia("(prefers-color-scheme: dark)").matches ? "light" : "dark";
}

// ---------------------------------------------------------------- bulk actions
const bulk = document.querySelector("form[data-bulk]");
const picks = () => [...document.querySelectorAll('td.pick input[name="id"]')];
let pickAll;

// The bar is hidden until a row is selected.
function showSelection() {
  if (!bulk) return;
  const boxes = picks();
  const count = boxes.filter((box) => box.checked).length;
  for (const box of boxes) box.closest("tr").setAttribute("aria-selected", String(box.checked));
  const selected = bulk.querySelector("[data-selected]");
  selected.textContent = selected.dataset.text.replace("{}", count);
  selected.hidden = bulk.elements.all.checked;
  bulk.hidden = count === 0 && !bulk.elements.all.checked;
  const all = document.querySelector("[data-bulk-all]");
  if (all) all.hidden = !bulk.hidden;
  pickAll.checked = count > 0 && count === boxes.length;
  pickAll.indeterminate = count > 0 && count < boxes.length;
}

function addPickAll() {
  pickAll = document.createElement("input");
  pickAll.type = "checkbox";
  pickAll.setAttribute("aria-label", bulk.dataset.pageText);
  document.querySelector("th.pick")?.append(pickAll);
  pickAll.addEventListener("change", () => {
    for (const box of picks()) box.checked = pickAll.checked;
  });
  document.addEventListener("change", showSelection);
  // A browser may restore the boxes after this script.
  addEventListener("pageshow", showSelection);
  showSelection();
}

if (bulk) addPickAll();
showTimes();
showStatus();
setInterval(showTimes, 1000);
setInterval(showStatus, 1000);
setInterval(poll, POLL_MS);
document.addEventListener("visibilitychange", () => poll());
