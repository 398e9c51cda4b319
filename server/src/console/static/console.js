// The kernel of the console: relative times, keys and small conveniences. `live.js` keeps pages up to date.
// Every page can be read and used without this file.

const root = document.documentElement;
const main = document.getElementById("content");

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

/** Tells the live page something that a key asks for. */
function tellLive(what) {
  document.dispatchEvent(new Event(`console:${what}`));
}

document.addEventListener("console:updated", ({ detail }) => {
  skew = detail.skew ?? skew;
  showSelection();
  showTimes();
});

// ---------------------------------------------------------------- keys
const pages = {
  o: "/", t: "/console/tasks", r: "/console/runs", d: "/console/dead-letters",
  q: "/console/queues", s: "/console/services", a: "/console/access",
  c: "/console/calendars",
  p: "/console/operations", l: "/console/alerts", w: "/console/workers", u: "/console/audit",
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
  ".": () => tellLive("refresh"),
  c: copyCurl,
  n: () => tellLive("new"),
  P: () => tellLive("pause"),
};

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input:not([type=checkbox]), textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
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
setInterval(showTimes, 1000);
