// The command palette: Ctrl-K or `:` opens it. It leads to pages, to actions of the current page, and to tasks and runs.

const palette = document.getElementById("palette");
const input = palette?.querySelector("input");
const list = palette?.querySelector("[role=listbox]");
const none = palette?.querySelector("[data-none]");
const WAIT_MS = 200;
let entries = [];
let found = [];
let active = 0;
let timer;
let latest = 0;

/** Returns the text of a link or button, without its icon. */
const words = (element) => (element.getAttribute("aria-label") ?? element.textContent).trim();

/** Returns the pages of the menu and the actions of this page. */
function known() {
  const { pageText, actionText } = palette.dataset;
  const actions = document.querySelectorAll(".head .actions a, .top form button");
  const pages = document.querySelectorAll("#nav section a");
  const entry = (kind) => (element) => ({ label: words(element), kind, element });
  return [...[...actions].map(entry(actionText)), ...[...pages].map(entry(pageText))];
}

function matches(entry) {
  const label = entry.label.toLowerCase();
  return input.value.toLowerCase().split(/\s+/).every((word) => label.includes(word));
}

function row(entry, at) {
  const item = document.createElement("li");
  item.id = `palette-${at}`;
  item.role = "option";
  item.setAttribute("aria-selected", String(at === active));
  const label = document.createElement("span");
  label.className = "grow";
  label.textContent = entry.label;
  const kind = document.createElement("span");
  kind.className = "dim";
  kind.textContent = entry.kind;
  item.append(label, kind);
  item.addEventListener("click", () => choose(entry));
  return item;
}

function show() {
  entries = [...known().filter(matches), ...found];
  active = Math.min(active, Math.max(entries.length - 1, 0));
  list.replaceChildren(...entries.map(row));
  none.hidden = entries.length > 0;
  list.hidden = entries.length === 0;
  input.setAttribute("aria-expanded", String(entries.length > 0));
  if (entries.length > 0) input.setAttribute("aria-activedescendant", `palette-${active}`);
  else input.removeAttribute("aria-activedescendant");
  list.children[active]?.scrollIntoView({ block: "nearest" });
}

function choose(entry) {
  if (!entry) return;
  palette.close();
  if (entry.href) location.href = entry.href;
  else entry.element.click();
}

async function search() {
  const number = ++latest;
  const text = input.value.trim();
  try {
    const answer = await fetch(`/console/palette?${new URLSearchParams({ q: text })}`, { redirect: "error" });
    if (!answer.ok || number !== latest) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (number !== latest) return;
    found = [...page.querySelectorAll("li")].map((item) => {
      const link = item.querySelector("a");
      return { label: link.textContent, kind: item.querySelector("span").textContent, href: link.getAttribute("href") };
    });
    show();
  } catch {
    // Pages and actions are listed without the server.
  }
}

function open() {
  input.value = "";
  found = [];
  active = 0;
  palette.showModal();
  show();
}

const moves = {
  ArrowDown: () => (active + 1) % Math.max(entries.length, 1),
  ArrowUp: () => (active + entries.length - 1) % Math.max(entries.length, 1),
  PageDown: () => entries.length - 1,
  PageUp: () => 0,
};

if (palette) {
  document.addEventListener("keydown", (event) => {
    const isColon = event.key === ":" && !event.target.closest("input, textarea, select") && !event.ctrlKey;
    const isCtrlK = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
    if (palette.open || !(isColon || isCtrlK)) return;
    event.preventDefault();
    open();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      choose(entries[active]);
    } else if (moves[event.key]) {
      event.preventDefault();
      active = moves[event.key]();
      show();
    }
  });
  input.addEventListener("input", () => {
    active = 0;
    found = [];
    latest += 1;
    show();
    clearTimeout(timer);
    if (input.value.trim()) timer = setTimeout(search, WAIT_MS);
  });
  // A click beside the dialog closes it.
  palette.addEventListener("click", (event) => { if (event.target === palette) palette.close(); });
  for (const button of document.querySelectorAll("[data-palette]")) {
    button.hidden = false;
    button.addEventListener("click", open);
  }
}
